"""The operator's port."""

import asyncio
import json
import logging
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest

from hookline.admin.pages import ReadinessPage
from hookline.admin.server import AdminServer
from hookline.admin.settings import AdminSettings
from hookline.schemas.process_states import ProcessState
from tests.services.servers import free_ports

TOKEN = "a-token-for-the-operator"


class Pages:
    state = ReadinessPage(ready=True, role="worker")

    async def metrics(self) -> bytes:
        return b"hookline_ready 1.0\n"

    async def readiness(self) -> ReadinessPage:
        return self.state

    async def processes(self) -> list[ProcessState]:
        return [ProcessState(role="worker", pid=7, version="1", broker="rabbit:5672/", ready=True)]


@asynccontextmanager
async def serving(token: str = "", port: int = 0, hosts: tuple[str, ...] = ()) -> AsyncIterator[tuple[Pages, int]]:
    pages = Pages()
    server = AdminServer(pages, AdminSettings(port=port or free_ports(1)[0], token=token, hosts=hosts))
    listening = await server.start()
    assert listening is not None
    try:
        yield pages, listening
    finally:
        await server.stop()


async def get(port: int, path: str, method: str = "GET", **headers: str) -> tuple[int, bytes]:
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, f"http://127.0.0.1:{port}{path}", headers=headers) as response,
    ):
        return response.status, await response.read()


async def test_it_serves_metrics_and_health() -> None:
    async with serving() as (_, port):
        assert await get(port, "/metrics") == (200, b"hookline_ready 1.0\n")
        assert await get(port, "/healthz") == (200, b'{"status":"ok"}')


@pytest.mark.parametrize(
    "request_line", ["GET /healthz", "GET /metrics", "GET /none", "POST /metrics", "GET /processes", "NONSENSE"]
)
async def test_no_answer_tells_a_version(request_line: str) -> None:
    async with serving() as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"{request_line} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        answer = (await reader.read()).decode()
        writer.close()
    assert "\r\nServer: hookline-admin\r\n" in answer
    assert not re.search("aiohttp|python", answer, re.IGNORECASE)


async def test_readiness_says_what_is_missing() -> None:
    async with serving() as (pages, port):
        assert json.loads((await get(port, "/readyz"))[1]) == {"ready": True, "role": "worker", "reasons": []}
        pages.state = ReadinessPage(ready=False, role="worker", reasons=["hookline.billing is not consumed"])
        status, body = await get(port, "/readyz")
        assert (status, json.loads(body)["reasons"]) == (503, ["hookline.billing is not consumed"])


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:9464", 200),
        ("10.1.2.3:9464", 200),
        ("[::1]:9464", 200),
        ("localhost", 200),
        ("LOCALHOST.:9464", 200),
        ("metrics.internal:80", 200),
        ("evil.example", 403),
        ("127.0.0.1.evil.example:9464", 403),
        ("evil.metrics.internal", 403),
        ("[", 403),
    ],
)
async def test_without_a_token_no_foreign_name_leads_to_the_metrics(host: str, status: int) -> None:
    async with serving(hosts=("metrics.internal",)) as (_, port):
        assert (await get(port, "/metrics", Host=host))[0] == status


async def test_a_probe_may_use_any_name_or_none() -> None:
    async with serving() as (_, port):
        assert [(await get(port, path, Host="hookline"))[0] for path in ("/healthz", "/readyz")] == [200, 200]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /metrics HTTP/1.0\r\n\r\n")
        async with asyncio.timeout(10):
            assert b" 200 " in await reader.readline()
        writer.close()


async def test_who_has_the_token_may_use_any_name() -> None:
    async with serving(TOKEN) as (_, port):
        assert (await get(port, "/metrics", Host="hookline", Authorization=f"Bearer {TOKEN}"))[0] == 200


@pytest.mark.parametrize("authorization", ["", "Bearer", "Bearer x", f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer é"])
async def test_without_its_token_nothing_is_shown(authorization: str) -> None:
    async with serving(TOKEN) as (_, port):
        for path in ("/metrics", "/readyz", "/healthz", "/other"):
            assert (await get(port, path, Authorization=authorization))[0] == 401


async def test_with_its_token_all_is_shown() -> None:
    async with serving(TOKEN) as (_, port):
        assert (await get(port, "/metrics", Authorization=f"Bearer {TOKEN}"))[0] == 200


@pytest.mark.parametrize(
    ("path", "method", "status"), [("/", "GET", 404), ("/hooks/x", "GET", 404), ("/metrics", "POST", 405)]
)
async def test_it_serves_nothing_else(path: str, method: str, status: int) -> None:
    async with serving() as (_, port):
        assert (await get(port, path, method))[0] == status


async def test_a_target_with_a_host_that_cannot_be_decoded_is_answered() -> None:
    async with serving() as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET http://xn--a/healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        async with asyncio.timeout(10):
            assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
        writer.close()


@pytest.mark.parametrize("sent", [b"zebra\r\n\r\n", b"GET /?zebra=\xff HTTP/1.1\r\n\r\n", b"\x16\x03\x01zebra"])
async def test_what_is_no_request_is_neither_quoted_nor_logged(sent: bytes, caplog: pytest.LogCaptureFixture) -> None:
    async with serving() as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent)
        async with asyncio.timeout(10):
            answer = await reader.read()
        writer.close()
    assert answer.startswith(b"HTTP/1.0 400 ")
    assert b"zebra" not in answer
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


async def test_a_second_process_takes_the_next_free_port(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with serving() as (_, first), serving(port=first) as (_, second):
        assert first < second <= first + 31
        assert f"metrics and health on http://127.0.0.1:{second}, because {first} is taken" in caplog.text


async def test_without_a_free_port_the_process_runs_without_one(caplog: pytest.LogCaptureFixture) -> None:
    server = AdminServer(Pages(), AdminSettings(host="192.0.2.1"))
    assert await server.start() is None
    assert "no metrics and health: cannot listen on 192.0.2.1:9464" in caplog.text


async def test_it_answers_while_many_clients_send_nothing() -> None:
    async with serving() as (_, port):
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(100)]
        assert (await get(port, "/healthz"))[0] == 200
        for _, writer in silent:
            writer.close()


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        (AdminSettings(host="0.0.0.0"), "token: it is missing"),  # noqa: S104
        (AdminSettings(host="metrics.internal"), "token: it is missing"),
        (AdminSettings(host="::"), "token: it is missing"),
        (AdminSettings(token="short"), "token: it is shorter than 16"),
        (AdminSettings(token=" " * 20), "token: it is empty, and anyone could show that"),
        (AdminSettings(token="\u200b" * 20), "token: it consists of invisible characters"),
        (AdminSettings(token="changemechangeme"), "token: it is still a placeholder"),
        (AdminSettings(token="<the-token-goes-here>"), "token: it is still a placeholder"),
        (AdminSettings(token="$HOOKLINE_ADMIN_TOKEN"), "token: it is still a placeholder"),
        (AdminSettings(token="/run/secrets/admin_token"), "token: it is the name of a file"),
        (AdminSettings(token=f"{TOKEN}\n{TOKEN}"), "token: it has a line end in it"),
        (AdminSettings(token=f"{TOKEN} "), "token: it begins or ends with a blank, which no header keeps"),
        (AdminSettings(hosts=("http://metrics.internal",)), "hosts: expected names such as metrics.internal"),
        (AdminSettings(hosts=("metrics.internal:80",)), "hosts: expected names such as metrics.internal"),
        (AdminSettings(hosts=("",)), "hosts: expected names such as metrics.internal"),
        (AdminSettings(hosts=("metrics.internal", "prometheus")), None),
        (AdminSettings(host="0.0.0.0", token=TOKEN), None),  # noqa: S104
        (AdminSettings(host="0.0.0.0", port=0), None),  # noqa: S104
        (AdminSettings(host="localhost"), None),
        (AdminSettings(host="::1"), None),
        (AdminSettings(host="127.0.0.9"), None),
    ],
)
def test_an_address_that_others_reach_needs_a_token(settings: AdminSettings, fault: str | None) -> None:
    assert (settings.fault or "").startswith(fault or "")
    assert (settings.fault is None) == (fault is None)
