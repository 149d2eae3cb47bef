"""A callback with several events that two processes deliver in turn: the store remembers the end of each event."""

from collections.abc import Sequence

import pytest

from hookline import Backoff, Poisoned, Worker, worker
from hookline.events import CanonicalEvent, ParticipantJoined, ParticipantLeft
from hookline.schemas.broker import Again, Done, Outcome, Parked, Received
from hookline.schemas.copies import COPY
from hookline.schemas.dead_letters import EVENTS, REPLAYS
from hookline.schemas.envelope import Envelope, to_headers
from hookline.workers.pipeline import Pipeline
from hookline.workers.store import Store
from tests.contract.installations import envelope
from tests.contract.stores import Another, each_store, shared_stores
from tests.events import make

RETRY = Backoff(first_s=0, jitter=0, attempts=3)
IN = (make(ParticipantJoined, "in-1", user_id="a"), make(ParticipantJoined, "in-2", user_id="b"))
OUT = (make(ParticipantLeft, "out", user_id="c"),)


def callback(**headers: str) -> Received:
    sealed = to_headers(envelope("participant.joined", number=1))
    return Received({**sealed, **headers}, "", b"{}", 1, None)


class Process:
    """One process that wants some types of events, and the ids of those that its function was called with."""

    def __init__(self, store: Store, queue: str, *wanted: type[CanonicalEvent], after_s: float = 600.0) -> None:
        self.failing: dict[str, Exception] = {}
        self.calls: list[str] = []
        now_s = envelope().received_at.timestamp()
        self.pipeline = Pipeline(
            self._worker(queue, wanted), store, normalise=_events, clock=lambda: now_s, unwanted_after_s=after_s
        )

    async def handle(self, **headers: str) -> Outcome:
        return (await self.pipeline.work(callback(**headers))).outcome

    def _worker(self, queue: str, wanted: Sequence[type[CanonicalEvent]]) -> Worker[CanonicalEvent]:
        @worker(*wanted, queue=queue, retry=RETRY)
        async def note(event: CanonicalEvent) -> None:
            self.calls.append(event.id)
            if event.id in self.failing:
                raise self.failing[event.id]

        return note


def _events(_: Envelope) -> tuple[CanonicalEvent, ...]:
    return (*IN, *OUT)


@each_store
async def test_a_callback_is_put_back_until_every_event_was_called_where_it_is_wanted(store: Store, queue: str) -> None:
    joins, leaves = Process(store, queue, ParticipantJoined), Process(store, queue, ParticipantLeft)
    for _ in range(2):
        put_back = await joins.handle()
        assert isinstance(put_back, Again)
        assert (put_back.reason, put_back.attempt) == ("unwanted", 1)
    assert await leaves.handle() == Done("handled")
    assert await joins.handle() == Done("duplicate")
    assert (joins.calls, leaves.calls) == (["in-1", "in-2"], ["out"])


@each_store
async def test_an_event_that_nobody_wants_is_parked_alone(store: Store, queue: str) -> None:
    joins = Process(store, queue, ParticipantJoined, after_s=0.0)
    parked = await joins.handle()
    assert isinstance(parked, Parked)
    assert (parked.reason, parked.events) == ("unwanted", ("out",))
    leaves = Process(store, queue, ParticipantLeft)
    assert await leaves.handle(**{EVENTS: "out", REPLAYS: "1"}) == Done("handled")
    assert (joins.calls, leaves.calls) == (["in-1", "in-2"], ["out"])


@each_store
async def test_a_dead_letter_names_the_unwanted_events_and_those_that_failed(store: Store, queue: str) -> None:
    joins = Process(store, queue, ParticipantJoined, after_s=0.0)
    joins.failing = {"in-2": Poisoned("never")}
    parked = await joins.handle()
    assert isinstance(parked, Parked)
    assert (parked.reason, parked.events) == ("unwanted", ("in-2", "out"))
    assert "never" in parked.detail
    joins.failing = {}
    await joins.handle(**{EVENTS: "in-2,out", REPLAYS: "1"})
    assert joins.calls == ["in-1", "in-2", "in-2"]


@shared_stores
@pytest.mark.parametrize("error", [Poisoned("never"), ValueError("no")], ids=["poisoned", "failed"])
async def test_an_event_that_was_parked_is_not_called_in_another_process(
    store: Store, another: Another, queue: str, error: Exception
) -> None:
    async with another() as other_store:
        first, second = (Process(each, queue, ParticipantJoined) for each in (store, other_store))
        leaves = Process(other_store, queue, ParticipantLeft)
        first.failing = {"in-1": error}
        for copy in range(RETRY.attempts):
            assert isinstance(await first.handle(**{COPY: str(copy)}), Again)
        called = list(first.calls)
        assert isinstance(await second.handle(**{COPY: str(RETRY.attempts)}), Again)
        parked = await leaves.handle(**{COPY: str(RETRY.attempts + 1)})
        assert isinstance(parked, Parked)
        assert (parked.reason, parked.events) == (
            "poisoned" if isinstance(error, Poisoned) else "failed",
            ("in-1",),
        )
        assert (first.calls, second.calls, leaves.calls) == (called, [], ["out"])
        assert await second.handle(**{EVENTS: "in-1", REPLAYS: "1"}) == Done("handled")  # a replay starts anew
