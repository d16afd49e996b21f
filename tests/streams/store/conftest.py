import pytest

from streams.store.signed_objects import InvalidObjects, SignedObjects
from tests.fakes import MemoryStore
from tests.streams.store.scripted_server import scripted
from tests.streams.store.signing import SIGNER

__all__ = ["scripted"]


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def signed(store: MemoryStore) -> SignedObjects:
    """The signed objects of `store`."""
    return SignedObjects(store, SIGNER, InvalidObjects())
