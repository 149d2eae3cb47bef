"""What the log of the ingress says of refused and of accepted requests."""

import asyncio
import logging
import ssl
from contextlib import suppress
from dataclasses import replace
from ipaddress import ip_network
from typing import Any

import msgspec
import pytest

from hookline.ingress import acceptances
from hookline.ingress.acceptances import Acceptances
from hookline.runtime.logs import log_sources
from hookline.schemas.provider import AnySource
from hookline.settings import load
from tests.end_to_end.processes import Project
from tests.ingress.callbacks import GOOD, post, signed
from tests.ingress.running_ingress import running_ingress
from tests.ingress.sources import CALLS, KRTC, NOW_S, SOURCES
from tests.vector_cases import seal_with


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "hookline.ingress"]


def facts(caplog: pytest.LogCaptureFixture) -> dict[str, Any]:
    (found,) = [getattr(record, "facts", {}) for record in caplog.records if record.name == "hookline.ingress"]
    return dict(found)


async def test_a_refusal_says_what_failed_by_how_much_where_and_from_whom(caplog: pytest.LogCaptureFixture) -> None:
    async with running_ingress() as ingress:
        await ingress.ask(post(CALLS, signed(CALLS, at_s=NOW_S - 3604), query="token=abcdefgh"))
    (line,) = said(caplog)
    assert line == (
        "calls: refused: stale_timestamp (the time stamp is 3,604 s old, and 300 s are allowed: is the clock right?): "
        "POST /hooks/calls from 127.0.0.1"
    )
    assert facts(caplog) == {
        "source": "calls",
        "reason": "stale_timestamp",
        "detail": "the time stamp is 3,604 s old, and 300 s are allowed: is the clock right?",
        "peer": "127.0.0.1",
        "method": "POST",
        "path": "/hooks/calls",
    }


async def test_behind_a_trusted_proxy_the_client_is_named(caplog: pytest.LogCaptureFixture) -> None:
    request = post(CALLS, signed(CALLS, at_s=0), add=["X-Forwarded-For: 203.0.113.9"])
    async with running_ingress(trusted_proxies=[ip_network("127.0.0.0/8")]) as ingress:
        await ingress.ask(request)
    assert said(caplog)[0].endswith(": POST /hooks/calls from 203.0.113.9")


async def test_a_header_of_a_stranger_names_nobody(caplog: pytest.LogCaptureFixture) -> None:
    async with running_ingress() as ingress:
        await ingress.ask(post(CALLS, signed(CALLS, at_s=0), add=["X-Forwarded-For: 203.0.113.9"]))
    assert said(caplog)[0].endswith(": POST /hooks/calls from 127.0.0.1")


async def test_an_unknown_path_is_in_the_log_cut_and_without_its_query(caplog: pytest.LogCaptureFixture) -> None:
    async with running_ingress() as ingress:
        await ingress.ask(post(replace(KRTC, name="x" * 300), query="token=abcdefgh"))
    (line,) = said(caplog)
    assert "abcdefgh" not in line
    assert f"POST /hooks/{'x' * 121} from 127.0.0.1" in line


async def test_a_method_of_a_stranger_cannot_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async with running_ingress() as ingress:
        await ingress.ask(GOOD.replace(b"POST", b"X" * 500))
    assert [len(line) < 200 for line in said(caplog)] == [True]


async def test_a_body_that_is_too_large_or_too_slow_is_said_by_how_much(caplog: pytest.LogCaptureFixture) -> None:
    large = replace(KRTC, name="large", max_body_bytes=10)
    async with running_ingress({large.name: large}) as ingress:
        await ingress.ask(post(large))
    assert "(the body has 140 bytes, and 10 are allowed)" in said(caplog)[0]


async def test_tls_to_a_port_without_it_is_recognised(caplog: pytest.LogCaptureFixture) -> None:
    """The likeliest mistake with a URL in a console: https for http."""
    async with running_ingress() as ingress:
        with suppress(ssl.SSLError, ConnectionError):
            await asyncio.open_connection("127.0.0.1", ingress.port, ssl=ssl.create_default_context())
    (line,) = said(caplog)
    assert line == (
        "-: refused: malformed_request (the sender speaks TLS, and this port does not: does the URL in the console "
        "begin with https?): from 127.0.0.1"
    )


async def test_what_is_no_http_is_logged_with_its_sender_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    async with running_ingress() as ingress:
        for _ in range(3):
            answer, _ = await ingress.ask(b"\x00\x01 secret\r\n\r\n")
            assert answer is not None
            assert answer.status == 400
    assert said(caplog) == ["-: refused: malformed_request (this is not a valid HTTP request): from 127.0.0.1"]


async def test_one_accepted_callback_of_a_source_is_logged_and_the_rest_counted(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acceptances, "WINDOW_S", 0)
    caplog.set_level(logging.INFO)
    envelope, log = seal_with(KRTC.provider, signed(KRTC).body), Acceptances()
    for _ in range(5):
        log.note(envelope)
    for _ in range(3):  # rounds of the loop, in one of which the window ends
        await asyncio.sleep(0)
    log.note(envelope)
    first, rest, again = said(caplog)
    assert first == f"{envelope.source}: accepted room.created of demo-1 ({envelope.id})"
    assert rest == f"{envelope.source}: accepted 4 more within 0 s"
    assert again == first


async def test_the_text_of_an_accepted_callback_cannot_move_the_cursor(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    body = signed(KRTC).body.replace(b"demo-1", b"\\u001b[2J" + b"x" * 500)
    Acceptances().note(seal_with(KRTC.provider, body))
    (line,) = said(caplog)
    assert line.isprintable()
    assert len(line) < 200


def test_a_lone_ingress_says_what_it_accepts(tmp_path: Any) -> None:
    project = Project(tmp_path)
    process = project.start("ingress")
    try:
        assert project.call("send", "krtc-main", "--count", "3").returncode == 0
        process.wait_for("krtc-main: accepted room.created of demo-")
        process.stop()
    finally:
        project.close()
    assert process.count("source krtc-main of krtc: POST /hooks/krtc-main, signed with its secret") == 1
    assert process.count("krtc-main: accepted 2 more within") == 1


def test_a_process_with_workers_leaves_that_to_their_log(tmp_path: Any) -> None:
    project = Project(tmp_path)
    process = project.start("run")
    try:
        assert project.call("send", "krtc-main").returncode == 0
        process.wait_for("handled")
        process.stop()
    finally:
        project.close()
    assert process.count("accepted") == 0


def test_what_each_source_asks_for_is_in_the_log(caplog: pytest.LogCaptureFixture, tmp_path: Any) -> None:
    caplog.set_level(logging.INFO)
    settings = load(Project(tmp_path).config, with_sources=True)
    networks = tuple(ip_network(f"10.0.0.{n}") for n in range(5))
    rotated = replace(CALLS, allow_from=networks[:1])
    unsigned: AnySource = replace(SOURCES["vonage-main"], keys=(), allow_from=networks)
    log_sources(msgspec.structs.replace(settings, sources={each.name: each for each in (rotated, unsigned)}))
    shown = "10.0.0.0/32, 10.0.0.1/32, 10.0.0.2/32"
    assert [record.getMessage() for record in caplog.records if "source " in record.getMessage()] == [
        "source calls of netease: POST /hooks/calls, signed with one of 2 secrets, from 10.0.0.0/32",
        f"source vonage-main of vonage: POST /hooks/vonage-main, not signed, from {shown}, others",
    ]
