"""Our HAProxy configuration in front of a real ingress: one address cannot take all connections."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from ipaddress import ip_network
from pathlib import Path

from tests.ingress.callbacks import BODY, GOOD
from tests.ingress.proxies import OK, WITHIN_S, call, haproxy
from tests.ingress.running_ingress import RunningIngress, running_ingress, with_settings

OTHER_HOST = "127.0.0.2"
LIMIT = 20
# A limit that is soon reached: HAProxy closes idle connections after 10 s.
SOON_REACHED = {"conn_cur gt 500": f"conn_cur gt {LIMIT}"}


@asynccontextmanager
async def behind_haproxy(folder: Path) -> AsyncIterator[tuple[RunningIngress, int]]:
    """An ingress and the port of the HAProxy in front of it."""
    proxies = [ip_network("127.0.0.1/32")]
    async with (
        running_ingress(settings=with_settings(drain_s=0), trusted_proxies=proxies) as ingress,
        haproxy(folder, ingress.port, SOON_REACHED) as port,
    ):
        yield ingress, port


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
        assert await call(port) == OK
        assert ingress.publisher.envelopes[-1].body == BODY


async def test_slow_bodies_wait_in_haproxy_and_not_in_the_ingress(tmp_path: Path) -> None:
    async with behind_haproxy(tmp_path) as (ingress, port):
        writers = []
        for _ in range(LIMIT // 2):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(GOOD[:-1])
            writers.append(writer)
        assert await call(port) == OK
        assert len(ingress.server.connections) < LIMIT // 2
        for writer in writers:
            writer.transport.abort()
