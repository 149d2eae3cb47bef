"""Redis servers that are demoted, full, loading or locked: the store is used again within seconds, by itself."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress

import pytest
import redis.asyncio

from hookline.schemas.errors import Unreachable
from hookline.workers.store import Acquired, LeasedElsewhere, Store
from tests.contract.installations import eventually
from tests.contract.stores import opened
from tests.services import redis as servers

TIMEOUT_S = 2.0
WITHIN_S = 10.0
"""How soon a store is used again. The heartbeat, which comes every two seconds, has to notice too."""


class Switch:
    """A TCP proxy. Connections that exist stay with the server that they had, as behind most load balancers."""

    def __init__(self, port: int) -> None:
        self.target = port
        self._tasks: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[int]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        yield int(server.sockets[0].getsockname()[1])
        server.close()
        for task in self._tasks:
            task.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ours = asyncio.current_task()
        assert ours is not None
        self._tasks.add(ours)
        with suppress(OSError, asyncio.CancelledError):
            their_reader, their_writer = await asyncio.open_connection("127.0.0.1", self.target)
            await asyncio.gather(_copy(reader, their_writer), _copy(their_reader, writer))
        writer.close()
        self._tasks.discard(ours)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


@pytest.fixture
def pair() -> Iterator[tuple[servers.Server, servers.Server]]:
    """A server and its replica."""
    first = servers.Server(servers.program())
    more = {"replicaof": f"127.0.0.1 {first.port}", "masterauth": servers.PASSWORD}
    second = servers.Server(servers.program(), more=more)
    try:
        first.start()
        second.start()
        yield first, second
    finally:
        first.close()
        second.close()


async def do(server: servers.Server, *commands: Sequence[str]) -> None:
    async with redis.asyncio.Redis.from_url(server.url) as client:
        for command in commands:
            await client.execute_command(*command)  # type: ignore[no-untyped-call]  # has no types


async def is_linked(replica: servers.Server) -> bool:
    async with redis.asyncio.Redis.from_url(replica.url) as client:
        found = await client.info("replication")
        return bool(found.get("master_link_status") == "up")


async def owners_seen(server: servers.Server) -> list[int]:
    """When each owner was last seen, by the lease clock."""
    async with redis.asyncio.Redis.from_url(server.url) as client:
        leases = await client.hgetall("hookline:leases")
        return [int(value) for name, value in leases.items() if name not in {b"value", b"at"}]


async def seen(server: servers.Server) -> int:
    """When the only owner was last seen, by the lease clock."""
    (at,) = await owners_seen(server)
    return at


async def knows_an_owner(server: servers.Server) -> bool:
    return bool(await owners_seen(server))


async def can_claim(store: Store, queue: str, event_id: str) -> bool:
    with suppress(Unreachable):
        return isinstance(await store.claim(queue, event_id), Acquired | LeasedElsewhere)
    return False


async def test_a_store_follows_a_failover_though_the_old_server_lives_on_as_a_replica(
    pair: tuple[servers.Server, servers.Server], queue: str
) -> None:
    first, second = pair
    await eventually(lambda: is_linked(second))
    switch = Switch(first.port)
    async with switch.listening() as port, opened(second.url.replace(str(second.port), str(port)), TIMEOUT_S) as store:
        await asyncio.gather(*(store.release(queue, str(number)) for number in range(20)))  # uses all connections
        assert await store.claim(queue, "before") == Acquired()
        await eventually(lambda: knows_an_owner(second))  # a replica is told after the client has its answer
        await do(second, ["REPLICAOF", "NO", "ONE"])
        await do(
            first,
            ["CONFIG", "SET", "masterauth", servers.PASSWORD],
            ["REPLICAOF", "127.0.0.1", str(second.port)],
        )
        switch.target = second.port
        at = await seen(second)
        async with asyncio.timeout(WITHIN_S):
            await eventually(lambda: can_claim(store, queue, "after"))

            async def is_renewed() -> bool:
                return await seen(second) > at

            await eventually(is_renewed)
            for number in range(50):
                await eventually(lambda number=number: can_claim(store, queue, f"later {number}"))  # type: ignore[misc]
        async with opened(second.url) as other:
            assert await other.claim(queue, "after") == LeasedElsewhere()


STATES = {
    "full": ([["CONFIG", "SET", "maxmemory", "1"]], [["CONFIG", "SET", "maxmemory", "0"]]),
    "read-only": ([["REPLICAOF", "127.0.0.1", "1"]], [["REPLICAOF", "NO", "ONE"]]),
    "without its master": (
        [["CONFIG", "SET", "replica-serve-stale-data", "no"], ["REPLICAOF", "127.0.0.1", "1"]],
        [["REPLICAOF", "NO", "ONE"]],
    ),
    "with another password": (
        [
            ["ACL", "SETUSER", "default", "resetpass", ">other"],
            ["CLIENT", "KILL", "SKIPME", "yes"],
        ],
        [["ACL", "SETUSER", "default", "resetpass", f">{servers.PASSWORD}"]],
    ),
}


@pytest.fixture
def server() -> Iterator[servers.Server]:
    server = servers.Server(servers.program())
    try:
        server.start()
        yield server
    finally:
        server.close()


@pytest.mark.parametrize(("breaking", "mending"), STATES.values(), ids=STATES.keys())
async def test_a_server_that_refuses_commands_is_unreachable_until_it_takes_them_again(
    server: servers.Server, queue: str, breaking: Sequence[Sequence[str]], mending: Sequence[Sequence[str]]
) -> None:
    async with opened(server.url, TIMEOUT_S) as store, redis.asyncio.Redis.from_url(server.url) as operator:
        async with operator.client() as one_connection:
            for command in breaking:
                await one_connection.execute_command(*command)  # type: ignore[no-untyped-call]  # has no types
            for number in range(20):
                with pytest.raises(Unreachable):
                    await store.claim(queue, str(number))
            for command in mending:
                await one_connection.execute_command(*command)  # type: ignore[no-untyped-call]  # has no types
        async with asyncio.timeout(WITHIN_S):
            await eventually(lambda: can_claim(store, queue, "after"))


async def test_a_server_that_is_loading_is_unreachable_until_it_has_loaded(server: servers.Server, queue: str) -> None:
    async with opened(server.url, TIMEOUT_S) as store:
        for thousand in range(20):  # all at once take longer than the time-out on a busy machine
            await asyncio.gather(*(store.finish(queue, f"{thousand} {number}") for number in range(1_000)))
        server.kill()
        server.more = {"key-load-delay": "200"}  # it answers after each thousand keys
        starting = threading.Thread(target=server.start)
        starting.start()
        found: set[str] = set()
        while starting.is_alive():
            try:
                await store.claim(queue, "after")
            except Unreachable as error:
                found.add(str(error))
        starting.join()
        assert any("loading" in text for text in found), found
        async with asyncio.timeout(WITHIN_S):
            await eventually(lambda: can_claim(store, queue, "after"))
