"""The products' benchmark from start to end, on a tiny random family and with very short training jobs."""

import re

import pytest
import torch

from benchmarks import product_training, training_runs
from tests import tiny


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Return a function that runs the benchmark and returns its exit code and its page."""
    plan = tiny.family(tmp_path / "family")
    threads = torch.get_num_threads()

    def run(*arguments):
        weights = ["--diffusion", plan.diffusion, "--reranking", plan.reranking, "--upscaling", plan.upscaling]
        out = ["--cache", str(tmp_path / "cache"), "--out", str(tmp_path / "page" / "products.md")]
        monkeypatch.setattr("sys.argv", ["products", *weights, *out, *arguments])
        return product_training.main(), (tmp_path / "page" / "products.md").read_text()

    yield run
    torch.set_num_threads(threads)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning")
def test_two_processes_train_the_page_lists_the_claims_and_a_second_run_trains_nothing(
    run, monkeypatch, capsys, tmp_path
):
    short = ["--seeds", "1", "--steps", "2", "--workers", "2", "--variants", "Textual Inversion"]
    code, page = run(*short)
    output = capsys.readouterr().out
    assert len(re.findall(r"^\[\d/2\] (milk|jam), ", output, re.MULTILINE)) == 2
    verdicts = re.findall(
        "^(holds|does not hold): (?:milk|jam): Textual Inversion clearly exceeds", output, re.MULTILINE
    )
    assert len(verdicts) == 2
    assert page.count("| Textual Inversion clearly exceeds the base model") == 2
    assert code == ("does not hold" in verdicts)
    assert (tmp_path / "page" / "products-milk.png").is_file()
    assert not list((tmp_path / "cache").glob("*/checkpoint-*"))

    def train_again(*_):
        raise AssertionError

    monkeypatch.setattr(training_runs, "_pool", train_again)
    assert run(*short)[1] == page
