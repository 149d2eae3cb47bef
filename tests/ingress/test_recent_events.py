"""Two genuine callbacks that have one id and say different things are counted and logged. A re-send is neither."""

import json
import logging
from collections.abc import Sequence

import msgspec
import pytest

from hookline.ingress import recent_events
from hookline.ingress.recent_events import COMPARE_EVERY_S, RecentEvents
from hookline.schemas.envelope import Envelope
from hookline.schemas.observer import Observer
from tests.ingress.callbacks import post, signed
from tests.ingress.running_ingress import running_ingress, with_settings
from tests.ingress.sources import KRTC, NOW_S, VOICE
from tests.json_paths import paths
from tests.vector_cases import Vector, all_vectors, exceptions, is_form, seal_with

(LEFT,) = (sample.body(1, NOW_S) for sample in KRTC.provider.samples if sample.type == "104")


def is_resent(vector: Vector) -> bool:
    """Whether it has fields that are filled in anew, and others that tell its event."""
    if vector.case.expected.challenge or is_form(vector.provider):
        return False
    about = exceptions(vector.provider.name)
    return bool(about.per_attempt & set(vector.content)) and any(p[-1] in about.facts for p in paths(vector.content))


RESENT = list(filter(is_resent, all_vectors()))


class Counting(Observer):
    def __init__(self) -> None:
        self.conflicts: list[str] = []

    def conflicted(self, source: str) -> None:
        self.conflicts.append(source)


def left(duration_s: int, room: str = "demo-1", **attempt: int) -> bytes:
    """A participant left. How long it was there is no fact of the event."""
    return json.dumps(
        LEFT | attempt | {"payload": LEFT["payload"] | {"duration": duration_s, "channelName": room}}
    ).encode()


def sealed(body: bytes) -> Envelope:
    return seal_with(KRTC.provider, body)


async def conflicts(bodies: Sequence[bytes], *, lane: bool = True) -> list[str]:
    """What the observer is told after the ingress has accepted all bodies."""
    observer = Counting()
    async with running_ingress(settings=with_settings(fast_lane=lane)) as ingress:
        ingress.receiver.observer = observer
        for body in bodies:
            answer, _ = await ingress.ask(post(KRTC, signed(KRTC, body)))
            assert answer is not None
            assert answer.status == 200
        assert [envelope.body for envelope in ingress.publisher.envelopes] == list(bodies)
    return observer.conflicts


@pytest.mark.parametrize("lane", [True, False], ids=["the fast lane", "the usual way"])
async def test_another_content_under_one_id_is_accepted_counted_and_logged(
    caplog: pytest.LogCaptureFixture, *, lane: bool
) -> None:
    assert sealed(left(5)).id == sealed(left(6)).id
    assert await conflicts([left(5), left(6)], lane=lane) == [KRTC.name]
    (line,) = [record for record in caplog.records if "id_conflict" in record.getMessage()]
    assert line.levelno == logging.ERROR
    assert LEFT["payload"]["uid"] not in line.getMessage()


async def test_a_re_send_is_no_conflict() -> None:
    assert await conflicts([left(5), left(5), left(5, notifyMs=1)]) == []


@pytest.mark.parametrize("vector", RESENT, ids=str)
def test_fields_of_the_attempt_are_no_conflict(vector: Vector) -> None:
    """The events of known and of unknown types of all providers that fill in fields anew."""
    for stamp in (12_345, "12345", None):
        stamps = dict.fromkeys(exceptions(vector.provider.name).per_attempt & set(vector.content), stamp)
        first, again = vector.seal(), vector.seal(json.dumps(vector.content | stamps).encode())
        assert first.id == again.id
        assert not RecentEvents().contradicts(first, again, vector.source)


def test_the_first_content_of_an_id_is_compared_also_with_the_third() -> None:
    recent, first = RecentEvents(), sealed(left(5))
    assert recent.repeated(first) is None
    assert [recent.repeated(sealed(left(duration_s))) for duration_s in (6, 7)] == [first, first]


def test_what_came_long_ago_is_forgotten_and_memory_is_bounded() -> None:
    recent = RecentEvents(max_bytes=100_000)
    first = sealed(left(5))
    assert recent.repeated(first) is None
    for number in range(1000):
        assert recent.repeated(sealed(left(5, f"room-{number}"))) is None
        assert len(recent) * len(first.body) < 100_000
    assert recent.repeated(sealed(left(6))) is None


@pytest.mark.parametrize("text", ["query", "subject"])
def test_texts_of_the_sender_beside_the_body_count(text: str) -> None:
    """A signature that does not cover the query lets anyone who has seen it send many long ones."""
    recent = RecentEvents(max_bytes=100_000)
    first = sealed(left(5))
    for number in range(100):
        assert recent.repeated(msgspec.structs.replace(first, id=str(number), **{text: "x" * 8000})) is None
    assert len(recent) * 8000 < 100_000


def test_an_event_of_the_older_half_is_still_known() -> None:
    recent = RecentEvents(max_bytes=4 * (len(left(5)) + len("demo-1") + recent_events.EVENT_BYTES))
    first, *others = (sealed(left(5, room)) for room in ("demo-1", "demo-2", "demo-3", "demo-4"))
    for each in (first, *others[:2]):
        assert recent.repeated(each) is None
    assert recent.repeated(sealed(left(6))) is first


def test_a_crowd_of_repeats_gets_few_comparisons() -> None:
    now_s = 0.0
    recent = RecentEvents(monotonic=lambda: now_s)
    first, second = sealed(left(5)), sealed(left(6))
    assert [recent.contradicts(first, second, KRTC) for _ in range(3)] == [True, False, False]
    assert not recent.contradicts(first, first, VOICE)  # another source has comparisons of its own
    now_s = COMPARE_EVERY_S
    assert recent.contradicts(first, second, KRTC)


def test_what_cannot_be_read_is_not_known_to_differ() -> None:
    first = sealed(left(5))
    assert not RecentEvents().contradicts(first, msgspec.structs.replace(first, body=b"["), KRTC)
