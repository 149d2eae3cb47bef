"""Our HAProxy configuration in front of a real ingress: one address cannot take all connections."""

import asyncio
import os
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from ipaddress import ip_network
from pathlib import Path

import pytest

from tests.ingress.callbacks import BODY, GOOD
from tests.ingress.running_ingress import RunningIngress, running_ingress, with_settings

CONFIGURATION = Path(__file__).parents[2] / "deploy" / "haproxy.cfg"
OTHER_HOST = "127.0.0.2"
LIMIT = 20
WITHIN_S = 60
PROGRAM = shutil.which("haproxy", path=f"{os.environ.get('PATH', '')}:/usr/sbin")

pytestmark = pytest.mark.skipif(
    PROGRAM is None and not os.environ.get("CI"), reason="haproxy is not installed: tests/services/install.sh does that"
)


def configuration(listener: int, ingress: int) -> str:
    """Ours, with other addresses, and a limit that is soon reached: HAProxy closes idle connections after 10 s."""
    text = CONFIGURATION.read_text()
    for ours, other in (("bind :8080\n", f"bind fd@{listener}\n"), ("conn_cur gt 500", f"conn_cur gt {LIMIT}")):
        assert text.count(ours) == 1
        text = text.replace(ours, other)
    text = text.replace("ingress-1:8080", f"127.0.0.1:{ingress}").replace("server ingress-2", "#")
    return text.replace("log stdout format raw local0 info\n", "\n")


@asynccontextmanager
async def behind_haproxy(folder: Path) -> AsyncIterator[tuple[RunningIngress, int]]:
    """An ingress and the port of the HAProxy in front of it."""
    listener = socket.create_server(("127.0.0.1", 0))  # HAProxy would share a port with the one of another test
    port, file = listener.getsockname()[1], listener.fileno()
    proxies = [ip_network("127.0.0.1/32")]
    with listener:
        async with running_ingress(settings=with_settings(drain_s=0), trusted_proxies=proxies) as ingress:
            (folder / "haproxy.cfg").write_text(configuration(file, ingress.port))
            async with running_haproxy(folder / "haproxy.cfg", file, port):
                yield ingress, port


@asynccontextmanager
async def running_haproxy(settings: Path, listener: int, port: int) -> AsyncIterator[None]:
    assert PROGRAM is not None, "haproxy is not installed"
    process = await asyncio.create_subprocess_exec(PROGRAM, "-db", "-f", str(settings), pass_fds=[listener])
    try:
        async with asyncio.timeout(WITHIN_S):
            while await call(port) != b"HTTP/1.1 200 OK\r\n":
                assert process.returncode is None
                await asyncio.sleep(0.1)
        yield
    finally:
        process.kill()
        await process.wait()


async def call(port: int, host: str = "127.0.0.1") -> bytes:
    """The first line of the answer to a genuine callback from this address; nothing if the connection is closed."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(host, 0))
    except OSError:
        return b""
    try:
        writer.write(GOOD)
        return await reader.readline()
    except ConnectionError:
        return b""
    finally:
        writer.transport.abort()


async def test_one_address_cannot_take_all_connections(tmp_path: Path) -> None:
    async with behind_haproxy(tmp_path) as (ingress, port), AsyncExitStack() as stack:
        for _ in range(LIMIT):
            crowd = socket.socket()
            crowd.setblocking(False)  # noqa: FBT003
            stack.enter_context(crowd)
            crowd.bind((OTHER_HOST, 0))
            await asyncio.get_running_loop().sock_connect(crowd, ("127.0.0.1", port))
        async with asyncio.timeout(WITHIN_S):
            while await call(port, OTHER_HOST):  # noqa: ASYNC110  HAProxy tells nobody
                await asyncio.sleep(0.05)
        assert await call(port) == b"HTTP/1.1 200 OK\r\n"
        assert ingress.publisher.envelopes[-1].body == BODY


async def test_slow_bodies_wait_in_haproxy_and_not_in_the_ingress(tmp_path: Path) -> None:
    async with behind_haproxy(tmp_path) as (ingress, port):
        writers = []
        for _ in range(LIMIT // 2):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(GOOD[:-1])
            writers.append(writer)
        assert await call(port) == b"HTTP/1.1 200 OK\r\n"
        assert ingress.server.connection_count < LIMIT // 2
        for writer in writers:
            writer.transport.abort()
