"""The signer of the tests, and objects that an attacker could plant."""

from __future__ import annotations

from streams.store.signed_objects import Signer

SIGNER = Signer([b"the key of this deployment, for tests"])
FOREIGN = Signer([b"the key of another deployment, for tests"])
HOSTILE = [b"", b"[]", b"{}", b"garbage", b"\xff" * 100, b'{"signature":"' + b"0" * 64 + b'"}', b" " * (2 * 2**20 + 1)]
"""Contents without a valid signature: empty, other JSON, no JSON, no UTF-8, a made-up signature, too large."""
