import click
import numpy as np
import pytest
from safetensors.numpy import save_file

from streams.cli.terminal import InputError
from streams.cli.trained_concept import prompt_of_product, read_concept

META = {"method": "dreambooth", "placeholder_token": "sks", "class_noun": "jar of jam"}


@pytest.fixture
def make_concept(tmp_path):
    def make(**changes):
        path = tmp_path / "dzem-malina" / "concept.safetensors"
        path.parent.mkdir(exist_ok=True)
        save_file({"w": np.zeros(2, np.float32)}, path, {**META, **changes})
        return path

    return make


def test_a_concept_file_states_everything_but_its_product(make_concept):
    concept = read_concept(make_concept())
    assert (concept.method, concept.placeholder_token, concept.class_noun) == ("dreambooth", "sks", "jar of jam")
    assert concept.product_id == "dzem-malina"
    assert len(concept.sha256) == 64


@pytest.mark.parametrize(
    ("changes", "prompt", "expected"),
    [
        ({}, "a jar of jam on a table", "a sks jar of jam on a table"),
        ({}, "A Jar of Jam, and a jar of jam", "A sks jar of jam, and a jar of jam"),
        ({}, "a sks jar of jam", "a sks jar of jam"),
        ({"method": "textual_inversion", "placeholder_token": "<jam>"}, "a jar of jam", "a <jam>"),
        ({"method": "textual_inversion", "placeholder_token": "<jam>"}, "two <jam>", "two <jam>"),
    ],
)
def test_the_prompt_names_the_product(make_concept, changes, prompt, expected):
    assert prompt_of_product(prompt, read_concept(make_concept(**changes))) == expected


def test_a_prompt_without_the_product_is_a_usage_error(make_concept):
    with pytest.raises(click.UsageError, match="write 'jar of jam' or 'sks jar of jam'"):
        prompt_of_product("a jar of jamming", read_concept(make_concept()))


def test_another_file_is_no_concept(make_concept, tmp_path):
    for changes in ({"method": "lora"}, {"class_noun": ""}):
        with pytest.raises(InputError, match="is not a concept: `creatives train` writes one"):
            read_concept(make_concept(**changes))
    garbage = tmp_path / "garbage"
    garbage.write_bytes(b"not tensors")
    with pytest.raises(InputError, match="cannot be read as a safetensors file"):
        read_concept(garbage)
