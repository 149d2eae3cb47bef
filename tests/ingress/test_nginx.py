"""Our nginx configuration in front of a real ingress: slow bodies wait in it, and it never answers 500."""

import asyncio
from ipaddress import ip_network
from pathlib import Path

from tests.ingress.callbacks import BODY, GOOD, post, signed
from tests.ingress.hostile_cases import MANY_CHUNKS
from tests.ingress.http_client import connected
from tests.ingress.proxies import OK, call, nginx
from tests.ingress.running_ingress import running_ingress, with_settings
from tests.ingress.sources import KRTC, MEETINGS
from tests.ingress.test_addresses import CLOSED

PROXIES = [ip_network("127.0.0.1/32")]


async def test_slow_bodies_wait_in_nginx_and_not_in_the_ingress(tmp_path: Path) -> None:
    async with running_ingress(trusted_proxies=PROXIES) as ingress, nginx(tmp_path, ingress.port, {}) as port:
        writers = []
        for _ in range(10):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(GOOD[:-1])
            writers.append(writer)
        assert await call(port) == OK
        assert len(ingress.server.connections) < 10
        assert {envelope.body for envelope in ingress.publisher.envelopes} == {BODY}
        for writer in writers:
            writer.transport.abort()


async def test_without_an_ingress_nginx_answers_503(tmp_path: Path) -> None:
    """nginx's own answer would be 502."""
    async with running_ingress(settings=with_settings(drain_s=0)) as ingress, nginx(tmp_path, ingress.port, {}) as port:
        await ingress.server.stop()
        async with connected(port) as client:
            await client.send(GOOD)
            answer = await client.answer()
            assert answer is not None
            assert (answer.status, answer.code, answer.headers["retry-after"]) == (503, "overloaded", "5")


async def test_a_body_that_nginx_cannot_write_to_its_disk_is_answered_503(tmp_path: Path) -> None:
    """A body in many small chunks takes more memory than nginx gives it."""
    async with running_ingress() as ingress, nginx(tmp_path, ingress.port, {}) as port, connected(port) as client:
        (tmp_path / "client_body").rmdir()
        await client.send(MANY_CHUNKS.request)
        answer = await client.answer()
        assert answer is not None
        assert (answer.status, answer.code) == (503, "overloaded")


async def test_a_client_cannot_name_its_own_address_through_nginx(tmp_path: Path) -> None:
    spoofed = post(CLOSED, signed(CLOSED), add=["X-Forwarded-For: 203.0.113.7", "Forwarded: for=203.0.113.7"])
    async with (
        running_ingress({CLOSED.name: CLOSED, KRTC.name: KRTC}, trusted_proxies=PROXIES) as ingress,
        nginx(tmp_path, ingress.port, {}) as port,
        connected(port) as client,
    ):
        await client.send(spoofed)
        answer = await client.answer()
        assert answer is not None
        assert (answer.status, answer.code) == (401, "bad_signature")


async def test_the_log_of_nginx_has_no_query(tmp_path: Path) -> None:
    """Some providers sign in it."""
    async with running_ingress() as ingress, nginx(tmp_path, ingress.port, {}) as port, connected(port) as client:
        await client.send(post(MEETINGS))
        assert await client.answer() is not None
        log = (tmp_path / "access.log").read_text()
        while MEETINGS.name not in log:
            await asyncio.sleep(0.05)
            log = (tmp_path / "access.log").read_text()
        assert "Sign" not in log
