"""A signature that does not cover the body passes with a few bodies, and not with any number of them."""

import logging
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace

import msgspec
import pytest
from multidict import CIMultiDict

from hookline.ingress import signature_memory
from hookline.ingress.receive import Receiver
from hookline.ingress.signature_memory import SignatureMemory, signature_memories
from hookline.schemas.errors import BadSignature
from hookline.schemas.provider import AnySource, Outgoing, Request, Signatures
from hookline.schemas.providers import catalogue
from tests.ingress.callbacks import post
from tests.ingress.running_ingress import SETTINGS, RecordingPublisher, running_ingress
from tests.ingress.sources import CLASSROOM, KRTC, MEETINGS, NOW_S
from tests.vector_cases import sent

WITHOUT_BODY = [CLASSROOM, MEETINGS]
LIMIT = 3

every_source = pytest.mark.parametrize("source", WITHOUT_BODY, ids=lambda source: source.name)


def limited(source: AnySource, limit: int = LIMIT) -> AnySource:
    return replace(source, max_bodies_per_signature=limit)


def callbacks(source: AnySource, count: int, *, at_s: float = NOW_S) -> Iterator[Outgoing]:
    """Genuine callbacks that the provider signs in one second."""
    for n in range(count):
        yield source.provider.sign(msgspec.json.encode(source.provider.samples[0].body(n, at_s)), source, at_s)


def requests(source: AnySource, count: int, *, at_s: float = NOW_S) -> list[Request]:
    return [sent(callback) for callback in callbacks(source, count, at_s=at_s)]


def signatures_of(source: AnySource) -> Signatures:
    signatures = source.provider.signatures
    assert signatures is not None
    return signatures


def memory_of(source: AnySource) -> SignatureMemory:
    return signature_memories({source.name: source}, {})[source.name]


def test_exactly_the_providers_whose_signature_leaves_the_body_open_have_a_memory() -> None:
    weak = {name for name, provider in catalogue().items() if provider.signatures is not None}
    assert weak == {name for name, provider in catalogue().items() if provider.strength == "time only"}


@every_source
async def test_the_ingress_refuses_a_signature_with_too_many_bodies(source: AnySource) -> None:
    async with running_ingress({source.name: limited(source)}) as ingress:
        answers = [(await ingress.ask(post(source, each)))[0] for each in callbacks(source, LIMIT + 2)]
        statuses = [answer.status for answer in answers if answer is not None]
        assert statuses == [200] * LIMIT + [401] * 2
        assert answers[-1] is not None
        assert answers[-1].code == "bad_signature"
        assert len(ingress.publisher.envelopes) == LIMIT


@every_source
async def test_without_a_limit_the_ingress_accepts_any_number(source: AnySource) -> None:
    count = 5
    async with running_ingress({source.name: source}) as ingress:
        for each in callbacks(source, count):
            answer, _ = await ingress.ask(post(source, each))
            assert answer is not None
            assert answer.status == 200
        assert len(ingress.publisher.envelopes) == count


@every_source
def test_a_body_that_came_before_is_a_re_send(source: AnySource) -> None:
    memory = memory_of(limited(source))
    known = requests(source, LIMIT)
    for request in known * 3:
        memory.check(request)
    with pytest.raises(BadSignature):
        memory.check(requests(source, LIMIT + 1)[-1])
    for request in known:
        memory.check(request)


@every_source
def test_another_second_has_another_signature(source: AnySource) -> None:
    memory = memory_of(limited(source))
    for second in range(5):
        for request in requests(source, LIMIT, at_s=NOW_S + second):
            memory.check(request)
    assert memory.excess == 0


@every_source
def test_a_signature_in_capitals_is_the_same_one(source: AnySource) -> None:
    memory = memory_of(limited(source, 1))
    first, second = requests(source, 2)
    memory.check(first)
    signature = signatures_of(source).of(second)
    shouted = msgspec.structs.replace(
        second,
        body=second.body.replace(signature.encode(), signature.upper().encode()),
        query=second.query.replace(signature, signature.upper()),
    )
    assert shouted != second
    source.provider.verify(shouted, source, NOW_S)
    with pytest.raises(BadSignature):
        memory.check(shouted)


@every_source
def test_more_bodies_than_usual_are_counted_and_logged(source: AnySource, caplog: pytest.LogCaptureFixture) -> None:
    memory = memory_of(source)
    usual = signatures_of(source).usual_bodies
    with caplog.at_level(logging.WARNING, logger="hookline.ingress"):
        for request in requests(source, usual + 5):
            memory.check(request)
    assert memory.excess == 5
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == [source.name]


def test_a_flood_of_bodies_takes_few_log_lines(caplog: pytest.LogCaptureFixture) -> None:
    memory = memory_of(MEETINGS)
    with caplog.at_level(logging.WARNING, logger="hookline.ingress"):
        for request in requests(MEETINGS, 1000):
            memory.check(request)
    assert len(caplog.records) < 12


def test_the_memory_is_bounded_and_forgets_the_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signature_memory, "MAX_BODIES", 6)
    memory = memory_of(limited(MEETINGS, 2))
    seconds = [requests(MEETINGS, 3, at_s=NOW_S + second) for second in range(10)]
    for first, second, _ in seconds:
        memory.check(first)
        memory.check(second)
    memory.check(seconds[0][2])  # forgotten
    with pytest.raises(BadSignature):
        memory.check(seconds[-1][2])


def test_a_signature_of_one_body_takes_little_memory() -> None:
    """A provider that signs each request with a nonce sends no other kind."""
    memory, count = SignatureMemory(MEETINGS, Signatures(lambda request: request.body.hex())), 20_000
    tracemalloc.start()
    try:
        for number in range(count):
            memory.check(Request(b"%032d" % number, CIMultiDict()))
        assert tracemalloc.get_traced_memory()[0] < 300 * count
    finally:
        tracemalloc.stop()


@every_source
def test_new_settings_hold_for_what_was_seen_before(source: AnySource) -> None:
    """After SIGHUP a limit holds at once, also for bodies that came before."""
    receiver = Receiver({source.name: source}, RecordingPublisher(), SETTINGS)
    first, second, third = requests(source, 3)
    for request in (first, second):
        receiver.check_signature(request, source)
    receiver.use({source.name: limited(source, 2)}, ())
    receiver.check_signature(first, source)
    with pytest.raises(BadSignature):
        receiver.check_signature(third, source)


@every_source
async def test_a_source_that_is_added_while_the_ingress_runs_has_a_memory(source: AnySource) -> None:
    receiver = Receiver({}, RecordingPublisher(), SETTINGS)
    receiver.use({source.name: limited(source, 1)}, ())
    first, second = requests(source, 2)
    receiver.check_signature(first, source)
    with pytest.raises(BadSignature):
        receiver.check_signature(second, source)


def test_a_source_without_a_signature_has_no_memory() -> None:
    assert signature_memories({MEETINGS.name: replace(MEETINGS, keys=())}, {}) == {}


def test_a_source_whose_signature_covers_the_body_has_no_memory() -> None:
    assert signature_memories({KRTC.name: KRTC}, {}) == {}
