"""Signed bodies of every kind of JSON: what is allowed is read, what is not is kept as unreadable, nothing is lost."""

import asyncio
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from hookline.schemas.envelope import UNREADABLE, moment, seal
from hookline.schemas.errors import MalformedRequest, Unreadable
from hookline.schemas.provider import AnySource, Outgoing
from tests.ingress.callbacks import post, sample, signed
from tests.ingress.running_ingress import running_ingress, with_settings
from tests.ingress.sources import KRTC, NOW_S, SOURCES
from tests.json_documents import ALLOWED, BYTE_ORDER_MARK, FORBIDDEN, OPEN, WHOLE
from tests.vector_cases import challenge_of, is_form, sent

MALFORMED = "malformed"
IN_JSON = [source for source in SOURCES.values() if not is_form(source.provider)]
SIGNS_BESIDE = [source for source in IN_JSON if signed(source).body == sample(source)]
"""Sources whose signature is not in the body."""

SKIPS_DEEPER = tuple(sys.version_info) >= (3, 14)
"""Whether msgspec skips values that are nested too deep for it to read them."""


def id_of(text: bytes) -> str:
    return repr(text[:40])[2:-1]


def with_value(body: bytes, value: bytes) -> bytes:
    """The body with one more field, of which no provider knows."""
    return body[:-1] + b',"Zz":' + value + b"}"


def callback(source: AnySource, value: bytes) -> Outgoing:
    """A genuine callback with the value in it, wherever its signature is."""
    if source in SIGNS_BESIDE:
        return signed(source, with_value(sample(source), value))
    outgoing = signed(source)
    return replace(outgoing, body=with_value(outgoing.body, value))


def outcome(source: AnySource, outgoing: Outgoing) -> str:
    """The type of the event that a genuine callback becomes, as the ingress finds it and a worker reads it."""
    request, provider = sent(outgoing), source.provider
    try:
        assert challenge_of(source, request, NOW_S) is None
        provider.verify(request, source, NOW_S)
    except MalformedRequest:
        return MALFORMED
    try:
        identity = provider.identify(request)
    except Unreadable:
        return UNREADABLE
    about: Any = {"provider": provider.name, "source": source.name, "content_type": "", "received_at": moment(NOW_S)}
    assert provider.normalise(seal(identity, request.body, **about))
    return identity.event_type


USUAL = {source.name: outcome(source, signed(source)) for source in IN_JSON}


@pytest.mark.parametrize("value", ALLOWED, ids=id_of)
def test_a_value_that_json_allows_costs_no_event(value: bytes) -> None:
    assert {source.name: outcome(source, callback(source, value)) for source in IN_JSON} == USUAL


@pytest.mark.parametrize("value", FORBIDDEN, ids=id_of)
def test_a_text_that_json_forbids_makes_a_genuine_callback_unreadable(value: bytes) -> None:
    for source in IN_JSON:
        expected = {UNREADABLE} if source in SIGNS_BESIDE else {UNREADABLE, MALFORMED}
        assert outcome(source, callback(source, value)) in expected, source.name


@pytest.mark.parametrize("value", OPEN, ids=id_of)
def test_what_json_leaves_open_is_read_or_unreadable(value: bytes) -> None:
    for source in IN_JSON:
        expected = {USUAL[source.name], UNREADABLE} | (set() if source in SIGNS_BESIDE else {MALFORMED})
        try:
            found = outcome(source, callback(source, value))
        except Unreadable:  # it is accepted, and a worker parks it
            if not SKIPS_DEEPER:
                raise
            found = UNREADABLE
        assert found in expected, source.name


@pytest.mark.parametrize("source", SIGNS_BESIDE, ids=lambda source: source.name)
def test_a_byte_order_mark_costs_no_event(source: AnySource) -> None:
    assert outcome(source, signed(source, BYTE_ORDER_MARK + sample(source))) == USUAL[source.name]


@pytest.mark.parametrize("body", WHOLE.values(), ids=WHOLE)
def test_a_body_that_is_no_event_is_unreadable_or_unknown(body: bytes) -> None:
    for source in SIGNS_BESIDE:
        event_type = outcome(source, signed(source, body))
        assert event_type == UNREADABLE or event_type.startswith("unknown."), source.name


def bodies() -> Iterator[bytes]:
    yield from WHOLE.values()
    for value in (*ALLOWED, *FORBIDDEN, *OPEN):
        yield value
        yield with_value(sample(KRTC), value)


@pytest.mark.parametrize("lane", [True, False], ids=["fast lane", "usual way"])
async def test_every_signed_body_is_answered_with_200_and_published_as_it_is(*, lane: bool) -> None:
    genuine = [body for body in bodies() if len(body) <= KRTC.max_body_bytes]
    async with running_ingress(settings=with_settings(fast_lane=lane)) as ingress, ingress.connect() as client:
        sending = asyncio.create_task(client.send(b"".join(post(KRTC, signed(KRTC, body)) for body in genuine)))
        answers = [await client.answer() for _ in genuine]
        await sending
        assert {answer.status if answer else 0 for answer in answers} == {200}
        assert [envelope.body for envelope in ingress.publisher.envelopes] == genuine
