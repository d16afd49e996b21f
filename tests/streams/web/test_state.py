"""The reasons why a worker is not ready."""

from __future__ import annotations

from dataclasses import replace

import pytest

from streams.web.state import WorkerState, unready_reasons
from tests.streams.web.fake_view import IDLE, STATE


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (replace(STATE, main_loop_silence=31.0), "The main loop has not moved for 31 s."),
        (replace(STATE, draining=True), "The worker is shutting down."),
        (replace(STATE, broker_unreachable=41.0), "The broker has not answered for 41 s."),
        (replace(STATE, broker_unreachable=5.1), "The broker has not answered for 5 s."),
        (replace(STATE, scratch_problems=("The scratch folder /s is full.",)), "The scratch folder /s is full."),
        (replace(STATE, joined=False), "The consumer group has not assigned partitions yet."),
        (replace(STATE, device_process=replace(IDLE, state="loading")), "The device process is loading."),
        (replace(STATE, device_process=replace(IDLE, state="restarting", error_message="no weights")),
         "The device process is restarting: no weights"),
    ],
)  # fmt: skip
def test_each_problem_is_a_reason(state: WorkerState, reason: str) -> None:
    assert unready_reasons(state) == [reason]


def test_an_unused_training_process_is_no_reason() -> None:
    stopped = replace(IDLE, state="stopped")
    assert unready_reasons(replace(STATE, training_process=stopped)) == []
    assert unready_reasons(replace(STATE, training_process=replace(stopped, error_message="no memory"))) == [
        "The training process is stopped: no memory"
    ]


def test_a_leader_election_is_no_reason() -> None:
    assert unready_reasons(replace(STATE, broker_unreachable=4.0, lag=None)) == []


def test_a_worker_without_partitions_is_ready() -> None:
    assert unready_reasons(replace(STATE, assigned=())) == []
