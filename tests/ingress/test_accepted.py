"""What the ingress accepts although it looks odd, because it is genuine."""

import re

import pytest

from hookline.schemas.envelope import UNREADABLE
from hookline.schemas.provider import AnySource
from tests.ingress.callbacks import BODY, GOOD, LENGTH, changed, post, signed, with_header, with_line
from tests.ingress.chunks import END, WHOLE, chunk, in_chunks
from tests.ingress.running_ingress import running_ingress
from tests.ingress.sources import CALLS, CLASSROOM, KRTC, MEETINGS, NOW_S, OLD_SECRET, SOURCES, VOICE
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
    "a harmless trailer": in_chunks(WHOLE, b"0\r\nX-Trailer: 1\r\n\r\n"),
    # The parser skips an extension without keeping it, and the body's time-out bounds it.
    "a chunk extension of 10 kB": in_chunks(b"%x;%b\r\n%b\r\n" % (len(BODY), b"z" * 10_000, BODY), END),
    "a length with leading zeros": changed(LENGTH, LENGTH.replace(b": ", b": 000")),
    "the content encoding identity": with_header(b"Content-Encoding: identity"),
    "no content type": changed(TYPE + b"\r\n", b""),
    **{
        f"the content type {kind.decode()}": changed(TYPE, b"Content-Type: " + kind)
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
            b"application/json; charset=ISO-8859-1",
            b"application/json;charset=ASCII",
            b"text/plain; charset=iso-8859-1",
            b"text/html",
            b"text/html;charset=ISO-8859-1",
            b"*/*",
        )
    },
    "a signature in upper case": re.sub(PROOF + b"[0-9a-f]+", lambda found: PROOF + found[0][16:].upper(), GOOD),
    "headers with the names of AMQP headers": with_header(b"CC: a.b", b"BCC: a.b", b"x-death: 1", b"x-delay: 1"),
    "60 headers": with_header(*[b"X-%d: 1" % number for number in range(59)]),
    "bytes beyond ASCII in an unused header": with_header(b"X-Name: \xe4\xf6\xff"),
}


@pytest.mark.parametrize("request_", HARMLESS.values(), ids=HARMLESS)
async def test_a_genuine_callback_is_accepted_in_any_form(request_: bytes) -> None:
    async with running_ingress() as ingress:
        answer, _ = await ingress.ask(request_)
        assert answer is not None
        assert answer.status == 200
        assert [(each.body, each.event_type) for each in ingress.publisher.envelopes] == [(BODY, "room.created")]


@pytest.mark.parametrize("line", [b"", b"Content-Type:\r\n", b"Content-Type:  \r\n"])
async def test_a_callback_without_a_content_type_gets_that_of_its_provider(line: bytes) -> None:
    async with running_ingress() as ingress:
        answer, _ = await ingress.ask(changed(TYPE + b"\r\n", line))
        assert answer is not None
        assert answer.status == 200
        assert [each.content_type for each in ingress.publisher.envelopes] == ["application/json"]


async def test_sixty_thousand_chunks_of_one_byte_are_one_body() -> None:
    body = b"z" * 60_000
    head = post(KRTC, signed(KRTC, body)).partition(b"\r\n\r\n")[0]
    head = head.replace(b"Content-Length: 60000", b"Transfer-Encoding: chunked")
    async with running_ingress() as ingress:
        answer, _ = await ingress.ask(head + b"\r\n\r\n" + chunk(b"z") * len(body) + END)
        assert answer is not None
        assert answer.status == 200
        assert ingress.publisher.envelopes[0].body == body


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
async def test_every_provider_gets_its_own_reply(source: AnySource) -> None:
    async with running_ingress() as ingress:
        answer, _ = await ingress.ask(post(source))
        assert answer is not None
        assert (answer.status, answer.body) == (source.provider.reply.status, source.provider.reply.body)
        assert [each.source for each in ingress.publisher.envelopes] == [source.name]


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
async def test_an_old_secret_verifies_while_it_is_in_the_settings(source: AnySource) -> None:
    async with running_ingress() as ingress:
        answer, _ = await ingress.ask(post(source, signed(with_secrets(source, [OLD_SECRET]))))
        assert answer is not None
        assert answer.status == 200
        assert len(ingress.publisher.envelopes) == 1


@pytest.mark.parametrize("late_s", [-300, 300], ids=["300 s ago", "in 300 s"])
@pytest.mark.parametrize("source", [CALLS, CLASSROOM, MEETINGS], ids=lambda source: source.name)
async def test_a_time_stamp_at_the_edge_of_the_tolerance_is_fresh(source: AnySource, late_s: int) -> None:
    async with running_ingress() as ingress:
        answer, _ = await ingress.ask(post(source, signed(source, at_s=NOW_S + late_s)))
        assert answer is not None
        assert answer.status == 200


async def test_an_exact_copy_is_accepted_as_the_same_event() -> None:
    async with running_ingress() as ingress:
        for _ in range(2):
            answer, _ = await ingress.ask(GOOD)
            assert answer is not None
            assert answer.status == 200
        first, second = ingress.publisher.envelopes
        assert first.id == second.id


@pytest.mark.parametrize("source", [KRTC, VOICE, CALLS], ids=lambda source: source.name)
@pytest.mark.parametrize(
    "body",
    [pytest.param(body, id=name) for name, body in HOSTILE_BODIES.items() if len(body) <= KRTC.max_body_bytes],
)
async def test_a_signed_callback_is_kept_whatever_its_body_is(source: AnySource, body: bytes) -> None:
    async with running_ingress() as ingress:
        answer, _ = await ingress.ask(post(source, signed(source, body)))
        assert answer is not None
        assert answer.status == 200
        (envelope,) = ingress.publisher.envelopes
        assert envelope.body == body
        assert envelope.event_type == UNREADABLE or envelope.event_type.startswith("unknown.")


async def test_a_url_check_is_answered_and_is_no_event() -> None:
    async with running_ingress() as ingress:
        answer, _ = await ingress.ask(post(CALLS, signed(CALLS, b"{}")))
        assert answer is not None
        assert answer.status == 200
        assert ingress.publisher.envelopes == []


async def test_what_the_query_says_is_kept_without_its_signature() -> None:
    call = signed(MEETINGS, b'{"CallInfo":{"CallId":"c1"},"EventTime":1700000000123}')
    own = "CallbackCommand=Call.CallbackAfterStartCall&GroupName=%B2%E2%CA%D4"
    async with running_ingress() as ingress:
        answer, _ = await ingress.ask(post(MEETINGS, call, query=f"{own}&{call.query}"))
        assert answer is not None
        assert answer.status == 200
        (envelope,) = ingress.publisher.envelopes
        assert envelope.event_type == "unknown.call-callbackafterstartcall"
        assert envelope.query == f"{own}&SdkAppid={MEETINGS.account.sdk_app_id}"
        (event,) = MEETINGS.provider.normalise(envelope)
        assert event.provider_type == "Call.CallbackAfterStartCall"


async def test_the_query_of_other_providers_is_not_kept() -> None:
    async with running_ingress() as ingress:
        await ingress.ask(with_line(b"POST /hooks/krtc-main?x=1 HTTP/1.1"))
        assert [envelope.query for envelope in ingress.publisher.envelopes] == [""]


@pytest.mark.parametrize("app_key", [None, "example-app-key", "another"])
async def test_the_app_key_of_netease_is_compared_if_it_is_there(app_key: str | None) -> None:
    add = [] if app_key is None else [f"AppKey: {app_key}"]
    call = signed(CALLS)
    headers = {name: value for name, value in call.headers.items() if name != "AppKey"}
    async with running_ingress() as ingress:
        answer, _ = await ingress.ask(post(CALLS, call, headers=headers, add=add))
        assert answer is not None
        assert answer.status == (401 if app_key == "another" else 200)


async def test_a_body_that_is_not_ascii_is_kept_whatever_its_label() -> None:
    """The label is an old client's default. What is no UTF-8 is kept as unreadable."""
    async with running_ingress() as ingress:
        for body in ('{"a":"会议"}'.encode(), b'{"a":"\xe9"}'):
            labelled = post(KRTC, signed(KRTC, body)).replace(TYPE, TYPE + b"; charset=ISO-8859-1")
            answer, _ = await ingress.ask(labelled)
            assert answer is not None
            assert answer.status == 200
        assert len(ingress.publisher.envelopes) == 2
        assert ingress.publisher.envelopes[1].event_type == UNREADABLE
