"""The frames of an envelope are those of the message that carries it, whose bytes a contract test holds to pamqp's."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from hookline.broker.rabbitmq.wire.encode import (
    Frames,
    Message,
    envelope_frames,
    message_surely_fits,
    publish_frames,
    surely_fits,
    template_of,
)
from hookline.schemas.envelope import MAX_CONTENT_TYPE_CHARACTERS, Envelope, to_headers
from hookline.schemas.errors import NotDurable
from tests.frames import BODY_SIZES

SMALLEST_CONTENT_BYTES = 4096 - 8
"""Of a frame that the smallest `frame_max` of AMQP allows."""
TIMES = st.datetimes(timezones=st.just(UTC) | st.builds(timezone, st.timedeltas(timedelta(0), timedelta(hours=23))))
ENVELOPES = st.builds(
    Envelope,
    id=st.text(max_size=300),
    provider=st.text(max_size=20),
    source=st.text(max_size=70),
    event_type=st.sampled_from(["room.created", "unknown.-", "unreadable"]),
    subject=st.text(max_size=600),
    occurred_at=TIMES,
    received_at=TIMES,
    content_type=st.sampled_from(["", "application/json", "text/plain; charset=utf-8"]),
    body=st.binary(max_size=300),
    query=st.sampled_from(["", "a=1&b=%B2", "x" * 1000]),
)


NAMES = st.text("abc", min_size=1, max_size=300) | st.text(max_size=20)
MESSAGES = st.builds(
    Message,
    exchange=NAMES,
    routing_key=NAMES,
    headers=st.dictionaries(NAMES, st.text(max_size=300) | st.just("\U0001f4de" * 600), max_size=40),
    content_type=NAMES,
    body=st.binary(max_size=300),
    expiration_ms=st.none() | st.integers(0, 2**63),
)


def of_the_message(envelope: Envelope, max_content_bytes: int) -> bytes:
    headers = to_headers(envelope)
    message = Message("e", envelope.routing_key, headers, envelope.content_type, envelope.body)
    return b"".join(publish_frames(3, message, b"m-1", max_content_bytes))


def frames(envelope: Envelope, max_content_bytes: int) -> Frames:
    return envelope_frames(template_of(3, "e", envelope), envelope, b"m-1", max_content_bytes)


@given(envelope=ENVELOPES)
def test_an_envelope_has_the_frames_of_its_message(envelope: Envelope) -> None:
    assert b"".join(frames(envelope, 10_000)) == of_the_message(envelope, 10_000)


@given(envelope=ENVELOPES)
def test_an_envelope_that_surely_fits_has_frames_at_any_server(envelope: Envelope) -> None:
    try:
        template = template_of(3, "e" * 255, envelope)
    except NotDurable:
        return
    if surely_fits(template, envelope):
        envelope_frames(template, envelope, b"m" * 60, SMALLEST_CONTENT_BYTES)


def test_the_longest_headers_that_surely_fit_do() -> None:
    longest = replace(
        sealed("\U0001f4de" * 268, b"x"), source="s" * 168, query="\U0001f4de" * 100, traceparent="\U0001f4de" * 100
    )
    template = template_of(3, "e" * 255, longest)
    assert surely_fits(template, longest)
    assert not surely_fits(template, replace(longest, query=longest.query + "x"))
    longer = replace(longest, source=longest.source + "s")
    assert not surely_fits(template_of(3, "e" * 255, longer), longer)
    envelope_frames(template, longest, b"m" * 60, SMALLEST_CONTENT_BYTES)


@given(message=MESSAGES)
def test_a_message_that_surely_fits_has_frames_at_any_server(message: Message) -> None:
    if message_surely_fits(message):
        publish_frames(3, message, b"m" * 60, SMALLEST_CONTENT_BYTES)


def test_the_longest_message_that_surely_fits_does() -> None:
    headers = {"a" * 200: "\U0001f4de" * 700, **{f"n-{n:02}": "" for n in range(26)}, "b" * 22: "", "c": ""}
    longest = Message("e" * 100, "k" * 223, headers, "t" * 50, b"x", expiration_ms=2**63)
    assert message_surely_fits(longest)
    publish_frames(3, longest, b"m" * 60, SMALLEST_CONTENT_BYTES)
    for longer in (
        replace(longest, headers={**headers, "c": "x"}),
        replace(longest, content_type="t" * 51),
        replace(longest, headers={**headers, "": ""}),
        replace(longest, exchange="", routing_key="k" * 256),
        replace(longest, exchange="", routing_key="\xe9"),
    ):
        assert not message_surely_fits(longer)


def sealed(subject: str, body: bytes) -> Envelope:
    at = datetime(2023, 11, 14, 22, 13, 21, 5, tzinfo=UTC)
    return Envelope(
        id="0" * 32,
        provider="krtc",
        source="krtc-main",
        event_type="room.created",
        subject=subject,
        occurred_at=at,
        received_at=at,
        content_type="application/json",
        body=body,
    )


@pytest.mark.parametrize("size", BODY_SIZES.values(), ids=BODY_SIZES)
def test_a_body_is_in_as_many_frames_as_it_needs(size: int) -> None:
    envelope = sealed("room", bytes(number % 251 for number in range(size)))
    assert b"".join(frames(envelope, 1000)) == of_the_message(envelope, 1000)


def test_a_large_body_is_not_copied() -> None:
    body = bytes(300_000)
    views = [part for part in frames(sealed("room", body), 131_064) if isinstance(part, memoryview)]
    assert [len(view) for view in views if view.obj is body] == [131_064, 131_064, 37_872]


def test_an_envelope_whose_headers_no_frame_can_hold_is_refused() -> None:
    with pytest.raises(NotDurable):
        frames(sealed("s" * 1000, b""), 1000)


def test_every_content_type_that_the_ingress_accepts_can_be_published() -> None:
    longest = Message("e", "k", {}, "c" * MAX_CONTENT_TYPE_CHARACTERS, b"")
    assert b"c" * MAX_CONTENT_TYPE_CHARACTERS in b"".join(publish_frames(1, longest, b"m-1", 1000))
