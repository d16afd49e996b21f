"""One tiny family for all tests of `models`, written once per session and read through the real loaders."""

import pytest
import torch

from models.opening import open_studio
from tests import tiny


@pytest.fixture(scope="session")
def family_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("family")
    tiny.family(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_plan(family_folder):
    return tiny.family(family_folder)


@pytest.fixture(scope="session")
def tiny_studio(tiny_plan):
    threads = torch.get_num_threads()
    yield open_studio(tiny_plan)
    torch.set_num_threads(threads)


def pytest_collection_modifyitems(items):
    """Ignore one warning of diffusers' schedulers about numpy; all other warnings stay errors."""
    ignored = "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
    for item in items:
        if "tests/models" in item.path.as_posix():
            item.add_marker(pytest.mark.filterwarnings(ignored))
