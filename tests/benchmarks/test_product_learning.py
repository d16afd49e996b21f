"""The products' benchmark from its first line to its last, on a tiny random family and with very short lessons."""

import re

import pytest
import torch

from benchmarks import product_learning, training_runs
from tests import tiny


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Run the benchmark; return its exit code and its page."""
    plan = tiny.family(tmp_path / "family")
    threads = torch.get_num_threads()

    def run(*arguments):
        places = ["--diffusion", plan.diffusion, "--reranking", plan.reranking, "--upscaling", plan.upscaling]
        out = ["--cache", str(tmp_path / "cache"), "--out", str(tmp_path / "page" / "products.md")]
        monkeypatch.setattr("sys.argv", ["products", *places, *out, *arguments])
        return product_learning.main(), (tmp_path / "page" / "products.md").read_text()

    yield run
    torch.set_num_threads(threads)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning")
def test_two_processes_teach_the_page_says_what_is_held_and_nothing_is_taught_twice(run, monkeypatch, capsys, tmp_path):
    short = ["--seeds", "1", "--steps", "2", "--workers", "2", "--ways", "Textual Inversion"]
    code, page = run(*short)
    told = capsys.readouterr().out
    assert len(re.findall(r"^\[\d/2\] (milk|jam), ", told, re.MULTILINE)) == 2
    claimed = re.findall("^(held|not held): (?:milk|jam): Textual Inversion beats", told, re.MULTILINE)
    assert len(claimed) == 2
    assert page.count("| Textual Inversion beats the untaught model clearly") == 2
    assert code == ("not held" in claimed)
    assert (tmp_path / "page" / "products-milk.png").is_file()
    assert not list((tmp_path / "cache").glob("*/checkpoint-*"))

    def taught_again(*_):
        raise AssertionError

    monkeypatch.setattr(training_runs, "_pool", taught_again)
    assert run(*short)[1] == page
