from tests.streams.store.scripted_server import scripted

__all__ = ["scripted"]
