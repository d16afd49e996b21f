"""The precision of each network, and the way back to float32."""

import pytest
import torch

from models.errors import DeviceUnavailable, WeightsError
from models.precision import Precisions, ReducedPrecision, choose_precisions, finite_rows, non_finite


@pytest.mark.parametrize(
    ("name", "device", "expected"),
    [
        ("auto", "cpu", "float32"),
        ("auto", "cuda", "float16"),
        ("bfloat16", "cpu", "bfloat16"),
        ("float32", "cuda", "float32"),
    ],
)
def test_a_setting_chooses_the_precision_of_every_network(name, device, expected):
    settings = choose_precisions(name, torch.device(device)).recipe_settings()
    assert settings == dict.fromkeys(("dtype", "dtype_vae", "dtype_reranking", "dtype_upscaling"), expected)


def test_an_unknown_precision_is_refused_and_each_network_has_its_own_entry():
    with pytest.raises(DeviceUnavailable, match="no precision int8"):
        choose_precisions("int8", torch.device("cpu"))
    found = Precisions(torch.float16, torch.float32, torch.bfloat16, torch.float16).recipe_settings()
    assert found == {
        "dtype": "float16",
        "dtype_vae": "float32",
        "dtype_reranking": "bfloat16",
        "dtype_upscaling": "float16",
    }


def test_a_weight_that_does_not_fit_into_float16_is_there_again_in_float32():
    network = torch.nn.BatchNorm2d(2)
    network.weight.data = torch.tensor([1e6, 0.1])
    precision = ReducedPrecision(network, torch.float16)
    assert network.weight.tolist()[0] == float("inf")
    assert precision.is_reduced
    precision.restore_float32()
    assert network.weight.tolist() == torch.tensor([1e6, 0.1]).tolist()
    assert {value.dtype for value in network.state_dict().values()} == {torch.float32, torch.int64}
    assert not precision.is_reduced


def test_a_network_in_float32_needs_no_copy():
    assert not ReducedPrecision(torch.nn.Linear(2, 2), torch.float32).is_reduced


def test_a_row_is_finite_if_all_of_it_is():
    values = torch.zeros(3, 2, 2)
    values[1, 0, 1], values[2, 1, 1] = float("nan"), float("inf")
    assert finite_rows(values).tolist() == [True, False, False]


@pytest.mark.parametrize(
    ("dtype", "advice"), [(torch.float16, "Set CREATIVES_STUDIO__DTYPE"), (torch.float32, "download them again")]
)
def test_the_error_names_network_precision_and_what_to_do(dtype, advice):
    error = non_finite("UNet", dtype)
    assert isinstance(error, WeightsError)
    assert str(error).startswith(f"The UNet returns values that are not finite numbers in {str(dtype)[6:]}, so no")
    assert advice in str(error)
