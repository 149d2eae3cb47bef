"""What the ingress takes although it looks odd: genuine is genuine."""

import re

import pytest

from hookline.schemas.envelope import UNREADABLE
from hookline.schemas.provider import AnySource
from tests.ingress.house import (
    CALLS,
    CLASSROOM,
    KRTC,
    MEETINGS,
    NOW_S,
    OLD_SECRET,
    SOURCES,
    VOICE,
    opened,
    post,
    signed,
)
from tests.ingress.rows import BODY, END, GOOD, LENGTH, WHOLE, changed, chunk, in_chunks, with_header, with_line
from tests.test_hostile_bytes import HOSTILE_BODIES
from tests.vector_cases import with_secrets

TYPE = b"Content-Type: application/json"
PROOF = b"KRTC-Signature: "

HARMLESS: dict[str, bytes] = {
    "HTTP/1.0": with_line(b"POST /hooks/krtc-main HTTP/1.0"),
    "HTTP/1.0 without Host": with_line(b"POST /hooks/krtc-main HTTP/1.0").replace(b"Host: ingress.example\r\n", b""),
    "a query that the provider does not use": with_line(b"POST /hooks/krtc-main?x=%00&y=%zz HTTP/1.1"),
    "an empty line before the request": b"\r\n" + GOOD,
    "chunks": in_chunks(WHOLE, END),
    "many chunks": in_chunks(*(chunk(BODY[at : at + 1]) for at in range(len(BODY))), END),
    "19: a harmless trailer": in_chunks(WHOLE, b"0\r\nX-Trailer: 1\r\n\r\n"),
    # The parser skips an extension without keeping it, and the body's time-out bounds it; nobody else ever sees it.
    "18: a chunk extension of 10 kB": in_chunks(b"%x;%b\r\n%b\r\n" % (len(BODY), b"z" * 10_000, BODY), END),
    "a length with leading zeros": changed(LENGTH, LENGTH.replace(b": ", b": 000")),
    "48: a coding that is none": with_header(b"Content-Encoding: identity"),
    "54: no type": changed(TYPE + b"\r\n", b""),
    **{
        f"54: {kind.decode()}": changed(TYPE, b"Content-Type: " + kind)
        for kind in (
            b"application/json; charset=utf-8",
            b'application/json;charset="UTF-8"',
            b"APPLICATION/JSON",
            b"application/vnd.example+json",
            b"text/json",
            b"text/plain",
            b"text/plain;charset=UTF-8",
            b"application/octet-stream",
            b"application/x-www-form-urlencoded",
        )
    },
    "61: a signature in capitals": re.sub(PROOF + b"[0-9a-f]+", lambda found: PROOF + found[0][16:].upper(), GOOD),
    "79: headers named like a broker's": with_header(b"CC: a.b", b"BCC: a.b", b"x-death: 1", b"x-delay: 1"),
    "60 headers": with_header(*[b"X-%d: 1" % number for number in range(59)]),
    "bytes beyond ASCII in a header that nobody reads": with_header(b"X-Name: \xe4\xf6\xff"),
}


@pytest.mark.parametrize("request_", HARMLESS.values(), ids=HARMLESS)
async def test_a_genuine_callback_is_taken_however_it_is_wrapped(request_: bytes) -> None:
    async with opened() as house:
        answer, _ = await house.ask(request_)
        assert answer is not None
        assert answer.status == 200
        assert [(each.body, each.event_type) for each in house.publisher.envelopes] == [(BODY, "room.created")]


async def test_sixty_thousand_chunks_of_one_byte_are_one_body() -> None:
    body = b"z" * 60_000
    head = post(KRTC, signed(KRTC, body)).partition(b"\r\n\r\n")[0]
    head = head.replace(b"Content-Length: 60000", b"Transfer-Encoding: chunked")
    async with opened() as house:
        answer, _ = await house.ask(head + b"\r\n\r\n" + chunk(b"z") * len(body) + END)
        assert answer is not None
        assert answer.status == 200
        assert house.publisher.envelopes[0].body == body


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
async def test_every_providers_callback_is_answered_as_it_wants(source: AnySource) -> None:
    async with opened() as house:
        answer, _ = await house.ask(post(source))
        assert answer is not None
        assert (answer.status, answer.body) == (source.provider.reply.status, source.provider.reply.body)
        assert [each.source for each in house.publisher.envelopes] == [source.name]


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
async def test_the_secret_before_is_good_as_long_as_it_is_in_the_settings(source: AnySource) -> None:
    async with opened() as house:
        answer, _ = await house.ask(post(source, signed(with_secrets(source, [OLD_SECRET]))))
        assert answer is not None
        assert answer.status == 200
        assert len(house.publisher.envelopes) == 1


@pytest.mark.parametrize("late_s", [-300, 300])
@pytest.mark.parametrize("source", [CALLS, CLASSROOM, MEETINGS], ids=lambda source: source.name)
async def test_a_time_stamp_at_the_edge_of_the_tolerance_is_fresh(source: AnySource, late_s: int) -> None:
    async with opened() as house:
        answer, _ = await house.ask(post(source, signed(source, at_s=NOW_S + late_s)))
        assert answer is not None
        assert answer.status == 200


async def test_an_exact_copy_is_accepted_as_the_same_event() -> None:
    async with opened() as house:
        for _ in range(2):
            answer, _ = await house.ask(GOOD)
            assert answer is not None
            assert answer.status == 200
        first, second = house.publisher.envelopes
        assert first.id == second.id


@pytest.mark.parametrize("source", [KRTC, VOICE, CALLS], ids=lambda source: source.name)
@pytest.mark.parametrize("body", [body for body in HOSTILE_BODIES.values() if len(body) <= KRTC.max_body_bytes])
async def test_what_is_signed_is_kept_whatever_it_says(source: AnySource, body: bytes) -> None:
    async with opened() as house:
        answer, _ = await house.ask(post(source, signed(source, body)))
        assert answer is not None
        assert answer.status == 200
        (envelope,) = house.publisher.envelopes
        assert envelope.body == body
        assert envelope.event_type == UNREADABLE or envelope.event_type.startswith("unknown.")


async def test_the_check_of_a_url_is_answered_and_is_no_event() -> None:
    async with opened() as house:
        answer, _ = await house.ask(post(CALLS, signed(CALLS, b"{}")))
        assert answer is not None
        assert answer.status == 200
        assert house.publisher.envelopes == []
