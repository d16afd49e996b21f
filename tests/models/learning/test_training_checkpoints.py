"""Checkpoints that somebody else wrote: each counts as none, and nothing is changed."""

import pytest
import torch
from safetensors.torch import save_file

from models.learning.training_checkpoints import Checkpoints


def planted():
    tensors = {"losses": torch.zeros(2), "parameter.w": torch.ones(3), "step.w": torch.tensor(2.0)}
    tensors |= {"exp_avg.w": torch.zeros(3), "exp_avg_sq.w": torch.zeros(3)}
    return tensors, {"fingerprint": "right", "measured": "[]", "step": "2"}


@pytest.mark.parametrize(
    ("remove", "tensors", "meta"),
    [
        ("exp_avg.w", {}, {}),
        ("", {"parameter.w": torch.ones(7)}, {}),
        ("", {"exp_avg_sq.w": torch.ones(7)}, {}),
        ("measured", {}, {}),
        ("", {}, {"measured": "{"}),
        ("", {}, {"measured": "[[]]"}),
        ("", {"losses": torch.tensor(1.0)}, {}),
    ],
)
def test_a_malformed_checkpoint_counts_as_none(tmp_path, remove, tensors, meta):
    parameter = torch.nn.Parameter(torch.zeros(3))
    checkpoints = Checkpoints(tmp_path, "right", {"w": parameter}, torch.optim.AdamW([parameter]))
    good_tensors, good_meta = planted()
    good_tensors, good_meta = good_tensors | tensors, good_meta | meta
    good_tensors.pop(remove, None)
    good_meta.pop(remove, None)
    save_file(good_tensors, tmp_path / "checkpoint-000900.safetensors", good_meta)
    assert checkpoints.restore() == ([], [])
    assert parameter.tolist() == [0, 0, 0]
    assert not checkpoints.optimizer.state


def test_a_good_one_below_it_is_restored(tmp_path):
    parameter = torch.nn.Parameter(torch.zeros(3))
    checkpoints = Checkpoints(tmp_path, "right", {"w": parameter}, torch.optim.AdamW([parameter]))
    tensors, meta = planted()
    save_file(tensors, tmp_path / "checkpoint-000200.safetensors", meta)
    (tmp_path / "checkpoint-999999999.safetensors").write_bytes(b"garbage")
    losses, fixed = checkpoints.restore()
    assert (len(losses), fixed, parameter.tolist()) == (2, [], [1, 1, 1])
