"""A RabbitMQ cluster of three nodes on one machine. Each runs as a user of its own, by which packet rules know it."""

import asyncio
import os
import secrets
from pathlib import Path

from tests.services.rabbitmq import Node, programs

_USERS = (61_001, 61_002, 61_003)
_COOKIE = "cookie-of-a-test"
FORMATION = """\
cluster_formation.peer_discovery_backend = classic_config
cluster_formation.classic_config.nodes.1 = rabbit@rabbit-1
cluster_formation.classic_config.nodes.2 = rabbit@rabbit-2
cluster_formation.classic_config.nodes.3 = rabbit@rabbit-3
"""


class Member(Node):
    """One node. Quorum queues have a member on each."""

    def __init__(self, folder: Path, name: str, user: int | None, epmd_port: str | None, configuration: str) -> None:
        super().__init__(folder, configuration=configuration)
        self.number = user
        self.name = name
        self.environment["RABBITMQ_NODENAME"] = self.name
        if epmd_port is not None:
            self.environment["ERL_EPMD_PORT"] = epmd_port
        cookie = self.home / ".erlang.cookie"
        cookie.write_text(_COOKIE)
        cookie.chmod(0o400)
        if user is not None:
            for path in (self.home, *self.home.iterdir()):
                os.chown(path, user, user)

    def _account(self) -> int | None:
        return self.number


class Cluster:
    """Three nodes; `start` returns once all of them are members.

    `configuration` calls them rabbit@rabbit-1 to rabbit@rabbit-3.
    """

    def __init__(self, configuration: str = FORMATION) -> None:
        run = secrets.token_hex(4)
        names = [f"hookline-{run}-{number}@localhost" for number in range(len(_USERS))]
        users: list[int | None] = list(_USERS) if os.geteuid() == 0 else [None] * len(_USERS)
        for number, name in enumerate(names, 1):
            configuration = configuration.replace(f"rabbit@rabbit-{number}", name)
        self.nodes: list[Member] = []
        for name, user in zip(names, users, strict=True):
            epmd_port = self.nodes[0].environment["ERL_EPMD_PORT"] if self.nodes else None
            self.nodes.append(Member(programs(), name, user, epmd_port, configuration))

    @property
    def urls(self) -> list[str]:
        return [node.url for node in self.nodes]

    async def start(self) -> None:
        await asyncio.to_thread(self.nodes[0].start)
        await asyncio.gather(*(asyncio.to_thread(node.start) for node in self.nodes[1:]))
        for node in self.nodes:
            await asyncio.to_thread(node.control, "await_online_nodes", "3")

    async def mend(self) -> None:
        """Start the nodes that do not run."""
        await asyncio.gather(*(asyncio.to_thread(node.start) for node in self.nodes if node.pid is None))

    def close(self) -> None:
        for node in self.nodes:
            node.close()

    async def leader_of(self, queue: str) -> Member:
        """The node that leads a queue."""
        listed = await asyncio.to_thread(self.nodes[0].control, "list_queues", "name", "leader")
        lines = dict(line.split("\t") for line in listed.splitlines() if "\t" in line)
        return next(node for node in self.nodes if node.name == lines[queue])

    def partition(self, node: Member) -> list[str]:
        """Packet rules that cut a node off from the other two; clients still reach it."""
        assert node.number is not None
        ports = ", ".join(each.environment["RABBITMQ_DIST_PORT"] for each in self.nodes)
        own = node.environment["RABBITMQ_DIST_PORT"]
        return [
            f"out meta skuid {node.number} tcp dport {{ {ports} }} drop",
            f"out meta skuid {node.number} tcp sport {own} drop",
            f"out tcp dport {own} drop",
        ]
