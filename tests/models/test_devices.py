"""Devices and precisions by name, and the probe of a device."""

import pytest
import torch

from models import devices
from models.briefs import DeviceProbe, StudioPlan
from models.errors import DeviceUnavailable
from tests.models.fakes import connected

CPU = torch.device("cpu")


def test_device_and_precision_are_chosen_and_refused_by_name():
    expected = "cuda" if torch.cuda.is_available() else "cpu"
    assert devices.device_named("auto").type == expected
    assert devices.dtype_named("auto", CPU) == torch.float32
    assert devices.dtype_named("auto", torch.device("cuda")) == torch.bfloat16
    assert devices.dtype_named("float16", CPU) == torch.float16
    with pytest.raises(DeviceUnavailable, match="no precision int8"):
        devices.dtype_named("int8", CPU)
    for name in ("cuda:99", "gpu"):
        with pytest.raises(DeviceUnavailable, match="CREATIVES_STUDIO__DEVICE") as caught:
            devices.device_named(name)
        assert "\n" not in str(caught.value)


def send_and_receive_probe(**plan):
    ours, theirs = connected()
    devices.send_probe(theirs, StudioPlan(network=True, **plan))
    return ours.recv()


def test_a_probe_describes_a_device_that_works():
    found = send_and_receive_probe(device="cpu", dtype="bfloat16")
    assert isinstance(found, DeviceProbe)
    assert (found.device, found.dtype, found.torch) == ("cpu", "bfloat16", torch.__version__)
    assert found.name.endswith(f", threads: {torch.get_num_threads()}")


@pytest.mark.parametrize("plan", [{"device": "cuda:99"}, {"device": "cpu", "dtype": "int8"}])
def test_a_device_that_cannot_be_used_is_a_named_error(plan):
    assert isinstance(send_and_receive_probe(**plan), DeviceUnavailable)
