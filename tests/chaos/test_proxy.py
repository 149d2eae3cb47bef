"""Each way to cut a path does to real connections what it says."""

import asyncio
from collections.abc import AsyncIterator
from typing import cast

import pytest

from tests.chaos.proxy import Proxy

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]
_open: list[Connection] = []


class _Echo(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._transport.write(data)


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    """A proxy before a server that echoes."""
    server = await asyncio.get_running_loop().create_server(_Echo, "127.0.0.1", 0)
    made = Proxy(server.sockets[0].getsockname()[1])
    await made.start()
    yield made
    await made.close()
    server.close()
    for _, writer in _open:
        writer.close()
    _open.clear()


async def connect(proxy: Proxy) -> Connection:
    connection = await asyncio.open_connection("127.0.0.1", proxy.port)
    _open.append(connection)
    return connection


async def echoed(connection: Connection, text: bytes) -> bytes:
    reader, writer = connection
    writer.write(text)
    return await reader.readexactly(len(text))


async def is_reset(connection: Connection) -> bool:
    try:
        return await connection[0].read(1) == b""
    except ConnectionResetError:
        return True


async def test_what_is_sent_arrives_both_ways(proxy: Proxy) -> None:
    assert await echoed(await connect(proxy), b"hello") == b"hello"


async def test_a_stall_delays_and_loses_nothing(proxy: Proxy) -> None:
    connection = await connect(proxy)
    assert await echoed(connection, b"before") == b"before"
    cut = asyncio.create_task(proxy.cut("stall", 0.3))
    await asyncio.sleep(0)
    late = asyncio.create_task(echoed(connection, b"during"))
    await asyncio.sleep(0.1)
    assert not late.done()
    await cut
    assert await late == b"during"


async def test_a_drop_closes_what_is_open_and_takes_what_comes(proxy: Proxy) -> None:
    connection = await connect(proxy)
    await echoed(connection, b"before")
    await proxy.cut("drop", 0)
    assert await is_reset(connection)
    assert await echoed(await connect(proxy), b"after") == b"after"


async def test_a_reset_refuses_until_it_is_over(proxy: Proxy) -> None:
    connection = await connect(proxy)
    await echoed(connection, b"before")
    cut = asyncio.create_task(proxy.cut("reset", 0.3))
    assert await is_reset(connection)
    assert await is_reset(await connect(proxy))
    await cut
    assert await echoed(await connect(proxy), b"after") == b"after"


async def test_a_black_hole_answers_nothing_and_resets_at_its_end(proxy: Proxy) -> None:
    connection = await connect(proxy)
    await echoed(connection, b"before")
    cut = asyncio.create_task(proxy.cut("black hole", 0.3))
    await asyncio.sleep(0)
    swallowed = asyncio.create_task(is_reset(connection))
    begun_during = await connect(proxy)
    await asyncio.sleep(0.1)
    assert not swallowed.done()
    await cut
    assert await swallowed
    assert await is_reset(begun_during)
    assert await echoed(await connect(proxy), b"after") == b"after"


async def test_a_new_target_is_for_new_connections(proxy: Proxy) -> None:
    old = await connect(proxy)
    await echoed(old, b"before")
    proxy.target_port = 1
    assert await echoed(old, b"still") == b"still"
    assert await is_reset(await connect(proxy))
