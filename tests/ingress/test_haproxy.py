"""Our HAProxy configuration in front of a real ingress: one address cannot take all connections."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from ipaddress import ip_network
from pathlib import Path

from tests.ingress.callbacks import BODY, GOOD
from tests.ingress.http_client import Answer, connected
from tests.ingress.proxies import OK, WITHIN_S, call, haproxy
from tests.ingress.running_ingress import RunningIngress, running_ingress, with_settings

OTHER_HOST = "127.0.0.2"
LIMIT = 20
# A limit that is soon reached: HAProxy closes idle connections after 10 s.
# HAProxy 2.6 counts connections at the same time exactly only with one thread.
ONE_THREAD = {"tune.http.maxhdr 64 ": "nbthread 1\n    tune.http.maxhdr 64 "}
SOON_REACHED = {"conn_cur gt 500": f"conn_cur gt {LIMIT}", **ONE_THREAD}


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


async def test_another_path_is_404_in_our_form(tmp_path: Path) -> None:
    async with behind_haproxy(tmp_path) as (_, port), connected(port) as client:
        await client.send(b"GET /elsewhere HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = await client.answer()
        assert answer is not None
        assert (answer.status, answer.code) == (404, "unknown_source")


async def test_a_body_that_does_not_arrive_is_408_in_our_form(tmp_path: Path) -> None:
    soon = {"timeout http-request 10s ": "timeout http-request 1s "}
    proxies = [ip_network("127.0.0.1/32")]
    async with (
        running_ingress(trusted_proxies=proxies) as ingress,
        haproxy(tmp_path, ingress.port, soon) as port,
        connected(port) as client,
    ):
        await client.send(GOOD[:-1])
        answer = await client.answer()
        assert answer is not None
        assert (answer.status, answer.code) == (408, "slow_request")


async def test_without_an_ingress_haproxy_answers_503_in_our_form(tmp_path: Path) -> None:
    ready = b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n"
    async with behind_haproxy(tmp_path) as (ingress, port), connected(port) as client:
        await client.send(ready)
        answer = await client.answer()
        assert answer is not None
        assert (answer.status, answer.body) == (200, b'{"status":"ready"}')
        await ingress.server.stop()
        for request in (GOOD, ready):
            answered = await _unavailable(port, request)
            assert (answered.code, answered.headers["retry-after"]) == ("overloaded", "5")
            assert answered.headers["content-type"] == "application/json"


async def _unavailable(port: int, request: bytes) -> Answer:
    """The answer once HAProxy has noticed that there is no ingress."""
    async with asyncio.timeout(WITHIN_S):
        while True:
            async with connected(port) as client:
                await client.send(request)
                answer = await client.answer()
                if answer is not None and answer.status == 503:
                    return answer
            await asyncio.sleep(0.1)
