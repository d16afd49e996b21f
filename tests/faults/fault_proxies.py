"""The fault proxies of one testbed."""

from __future__ import annotations

from typing import Self

from tests.faults.proxy import FaultProxy
from tests.faults.testbed import Testbed


class FaultProxies:
    """A fault proxy in front of the store, and one in front of each broker, on a listener that advertises the proxy."""

    def __init__(self, testbed: Testbed) -> None:
        self.store = FaultProxy(testbed.cluster.minio)
        self.kafka = [FaultProxy(behind, front) for behind, front in testbed.cluster.proxied]

    @property
    def environ(self) -> dict[str, str]:
        return {
            "CREATIVES_STORAGE__ENDPOINT": f"http://{self.store.address}",
            "CREATIVES_KAFKA__BOOTSTRAP_SERVERS": ",".join(proxy.address for proxy in self.kafka),
        }

    async def __aenter__(self) -> Self:
        for proxy in (self.store, *self.kafka):
            await proxy.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        for proxy in (self.store, *self.kafka):
            await proxy.__aexit__()
