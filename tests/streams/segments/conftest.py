from __future__ import annotations

import pytest

from streams.segments.prompting import Prompter
from tests import fakes


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> str:
    return fakes.save_word_tokenizer(tmp_path_factory.mktemp("words"))


@pytest.fixture(scope="module")
def prompter(tokenizer: str) -> Prompter:
    return Prompter(tokenizer, 77, "blurry")
