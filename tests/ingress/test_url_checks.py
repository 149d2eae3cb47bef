"""Checks of a URL are answered and never published, with or without a proof, as their provider decides."""

from dataclasses import replace

import msgspec
import pytest

from hookline.schemas.errors import BadSignature, MalformedRequest
from hookline.schemas.provider import AnySource, Provider, Reply, Request, Source
from hookline.schemas.providers import catalogue
from tests.ingress.callbacks import GOOD, get, post, signed
from tests.ingress.running_ingress import RunningIngress, running_ingress
from tests.ingress.sources import CALLS, KRTC, SOURCES

TEST = b'{"test":"test"}'


class Ping(msgspec.Struct):
    ping: str


def unsigned(request: Request, source: AnySource, now_s: float) -> Reply | None:
    """Answers exactly one body, which may come before the secret is known."""
    return Reply(b"", 204) if request.body == TEST else None


def signed_ping(request: Request, source: AnySource, now_s: float) -> Reply | None:
    """Answers a signed body with a part of it."""
    if b'"ping"' not in request.body:
        return None
    source.provider.verify(request, source, now_s)
    try:
        ping = msgspec.json.decode(request.body, type=Ping).ping
    except ValueError:
        raise MalformedRequest("the ping cannot be read") from None
    return Reply(msgspec.json.encode({"pong": ping}))


def with_check(challenge: object) -> AnySource:
    provider: Provider[object] = replace(KRTC.provider, challenge=challenge)  # type: ignore[arg-type]  # either of the two
    source: Source[object] = replace(KRTC, provider=provider)
    return source


async def answers(ingress: RunningIngress, *requests: bytes) -> list[tuple[int, bytes]]:
    found = []
    for request in requests:
        answer, _ = await ingress.ask(request)
        assert answer is not None
        found.append((answer.status, answer.body))
    return found


async def test_an_unsigned_check_is_answered_again_and_again_and_never_published() -> None:
    source = with_check(unsigned)
    request = post(source, signed(source, TEST), leave_out=["KRTC-Signature"])
    async with running_ingress({source.name: source}) as ingress:
        assert await answers(ingress, request, request) == [(204, b"")] * 2
        assert ingress.publisher.envelopes == []


async def test_anything_else_still_needs_a_signature() -> None:
    source = with_check(unsigned)
    other = signed(source, b'{"test":"test" }')
    async with running_ingress({source.name: source}) as ingress:
        ((status, _),) = await answers(ingress, post(source, other, leave_out=["KRTC-Signature"]))
        assert status == 401
        ((status, _),) = await answers(ingress, GOOD)
        assert status == 200
        assert len(ingress.publisher.envelopes) == 1


async def test_a_signed_check_is_answered_with_what_it_asks_for() -> None:
    source = with_check(signed_ping)
    async with running_ingress({source.name: source}) as ingress:
        assert await answers(ingress, post(source, signed(source, b'{"ping":"abc"}'))) == [(200, b'{"pong":"abc"}')]
        assert ingress.publisher.envelopes == []


async def test_a_forged_check_is_refused() -> None:
    source = with_check(signed_ping)
    forged = replace(signed(source, b'{"ping":"abc"}'), body=b'{"ping":"xyz"}')
    async with running_ingress({source.name: source}) as ingress:
        ((status, body),) = await answers(ingress, post(source, forged))
        assert (status, BadSignature.reason in body.decode()) == (401, True)


async def test_a_check_that_cannot_be_read_is_malformed() -> None:
    source = with_check(signed_ping)
    async with running_ingress({source.name: source}) as ingress:
        ((status, _),) = await answers(ingress, post(source, signed(source, b'{"ping":5}')))
        assert status == 400


async def test_netease_checks_are_answered_and_not_published() -> None:
    async with running_ingress() as ingress:
        assert await answers(ingress, post(CALLS, signed(CALLS, b"{}"))) == [(200, b'{"errCode":0}')]
        assert ingress.publisher.envelopes == []


@pytest.mark.parametrize("name", SOURCES)
async def test_a_visit_by_get_is_answered_for_providers_that_check_a_url_so_and_refused_for_others(name: str) -> None:
    async with running_ingress(SOURCES) as ingress:
        ((status, body),) = await answers(ingress, get(f"/hooks/{name}"))
        reply = SOURCES[name].provider.reply
        if SOURCES[name].provider.checks_url_by_get:
            assert (status, body) == (reply.status, reply.body)
        else:
            assert status == 405
        assert ingress.publisher.envelopes == []


async def test_a_visit_says_nothing_so_it_has_no_body_and_no_other_method() -> None:
    with_body = b"GET /hooks/volcengine-main HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}"
    async with running_ingress(SOURCES) as ingress:
        found = await answers(ingress, with_body, get("/hooks/volcengine-main", "PUT"))
    assert [status for status, _ in found] == [400, 405]


def test_volcengine_checks_a_url_by_get() -> None:
    assert [each.name for each in catalogue().values() if each.checks_url_by_get] == ["volcengine"]
