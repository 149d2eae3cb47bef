"""The servers of a run. Each starts with the first scene that needs it, and serves all scenes."""

import asyncio
from contextlib import suppress

from tests.faults.cluster import Cluster
from tests.faults.scene import Servers
from tests.services import postgresql
from tests.services.rabbitmq import Node, programs


class World:
    def __init__(self) -> None:
        self._node: Node | None = None
        self._cluster: Cluster | None = None
        self._store: postgresql.Server | None = None

    @property
    def node(self) -> Node:
        assert self._node is not None
        return self._node

    @property
    def cluster(self) -> Cluster:
        assert self._cluster is not None
        return self._cluster

    @property
    def store(self) -> postgresql.Server:
        assert self._store is not None
        return self._store

    async def provide(self, servers: Servers) -> None:
        """Have these servers running."""
        if servers == "cluster":
            if self._cluster is None:
                self._cluster = Cluster()
                await self._cluster.start()
            await self._cluster.mend()
            return
        if self._node is None:
            self._node = Node(programs())
        if self._node.pid is None:
            await asyncio.to_thread(self._node.start)
        if servers == "postgresql":
            if self._store is None:
                self._store = postgresql.Server(postgresql.programs())
            if self._store.pid is None:
                await asyncio.to_thread(self._store.start)

    def close(self) -> None:
        for server in (self._node, self._cluster, self._store):
            if server is not None:
                with suppress(OSError):
                    server.close()
