"""An attempt is noted before a copy is passed on: a process that dies in between makes it no second time."""

import pytest

from hookline import Backoff, Poisoned, Retry, Worker, worker
from hookline.events import ParticipantJoined
from hookline.schemas.broker import Again, Outcome, Parked, Received
from hookline.schemas.copies import MAX_COPY, as_copy, as_next_copy, copy_of
from hookline.schemas.envelope import to_headers
from hookline.schemas.errors import Unreachable
from hookline.workers.attempts import copy_number, end_mark, is_surplus, passed_on
from hookline.workers.pipeline import Pipeline
from hookline.workers.store import Acquired, MemoryStore
from tests.contract.installations import envelope
from tests.events import START, make

# ruff: noqa: ARG002  stand-ins take what the real ones do

EVENT = make(ParticipantJoined, "e", user_id="u")
DELAY_S = 30.0


class Failing:
    """A worker whose function raises the same each time, and counts its calls."""

    def __init__(self, error: Exception, *, ordered: bool = False) -> None:
        self.calls: list[int] = []
        self.worker = self._worker(error, ordered=ordered)

    def _worker(self, error: Exception, *, ordered: bool) -> Worker[ParticipantJoined]:
        @worker(ParticipantJoined, retry=Backoff(first_s=DELAY_S, jitter=0, attempts=3), ordered=ordered)
        async def failing(event: ParticipantJoined) -> None:
            self.calls.append(len(self.calls) + 1)
            raise error

        return failing


class Dying:
    """A queue whose process dies as it settles a delivery. It keeps what the store knew by then."""

    def __init__(self, store: MemoryStore, queue: str) -> None:
        self._store = store
        self._queue = queue
        self.known: Acquired | None = None

    async def settle(self, received: Received, outcome: Outcome) -> bool:
        await self._store.release(self._queue, EVENT.id)  # as the end of a lease does
        claim = await self._store.claim(self._queue, EVENT.id)
        assert isinstance(claim, Acquired)
        self.known = claim
        raise ConnectionError


class LostStore(MemoryStore):
    """Another process has taken over each claim, for a reason that this one does not see."""

    async def note_attempt(self, queue: str, event_id: str, *, failures: int, tried: int) -> bool:
        return False


class SilentStore(MemoryStore):
    """It carries out what is noted, and does not answer."""

    async def note_attempt(self, queue: str, event_id: str, *, failures: int, tried: int) -> bool:
        await super().note_attempt(queue, event_id, failures=failures, tried=tried)
        raise Unreachable("no answer")


def received(copy: int = 0, attempt: int = 1) -> Received:
    return Received(as_copy(to_headers(envelope("participant.joined")), copy), "", b"{}", attempt, None)


def pipeline_of(failing: Failing, store: MemoryStore) -> Pipeline:
    return Pipeline(failing.worker, store, normalise=lambda _: (EVENT,), clock=START.timestamp)


async def dies_settling(failing: Failing, store: MemoryStore) -> Acquired:
    """What the store knows of the event after its process has died before it passed a copy on."""
    pipeline, queue = pipeline_of(failing, store), Dying(store, failing.worker.queue)
    with pytest.raises(ConnectionError):
        await pipeline.settle(queue, await pipeline.take(received()), lambda: None)  # type: ignore[arg-type]  # only that
    assert queue.known is not None
    await store.release(failing.worker.queue, EVENT.id)
    return queue.known


@pytest.mark.parametrize(
    ("error", "failures", "attempt"),
    [pytest.param(ValueError(), 1, 2, id="failure"), pytest.param(Retry(after_s=DELAY_S), 0, 1, id="retry")],
)
async def test_a_message_whose_attempt_was_noted_is_only_passed_on(
    error: Exception, failures: int, attempt: int
) -> None:
    store, failing = MemoryStore(), Failing(error)
    known = await dies_settling(failing, store)
    assert (known.failures, known.tried, known.copy) == (failures, 1, 0)
    outcome = (await pipeline_of(failing, store).work(received())).outcome
    assert outcome == Again(DELAY_S, attempt, "busy")
    assert failing.calls == [1]
    await pipeline_of(failing, store).work(received(copy=1, attempt=attempt))
    assert failing.calls == [1, 2]


@pytest.mark.parametrize("ordered", [False, True], ids=["plain", "ordered"])
async def test_the_end_of_an_event_is_noted_before_its_dead_letter_is_passed_on(*, ordered: bool) -> None:
    store, failing = MemoryStore(), Failing(Poisoned("never"), ordered=ordered)
    known = await dies_settling(failing, store)
    assert known.failures == end_mark(Parked("poisoned", "", 1)) + 1
    outcome = (await pipeline_of(failing, store).work(received())).outcome
    assert isinstance(outcome, Parked)
    assert (outcome.reason, outcome.is_known) == ("poisoned", True)
    assert failing.calls == [1]


async def test_an_ordered_worker_tries_an_event_again_though_its_attempt_was_noted_by_a_plain_one() -> None:
    store, plain, ordered = MemoryStore(), Failing(ValueError()), Failing(ValueError(), ordered=True)
    await dies_settling(plain, store)
    work = await pipeline_of(ordered, store).work(received())
    assert isinstance(work.outcome, Again)
    assert (work.outcome.reason, work.outcome.attempt) == ("failed", 3)


async def test_a_process_that_lost_its_claim_parks_nothing() -> None:
    store, failing = LostStore(), Failing(Poisoned("never"))
    outcome = (await pipeline_of(failing, store).work(received())).outcome
    assert isinstance(outcome, Again)
    assert (outcome.reason, outcome.attempt) == ("busy", 1)
    assert await store.claim(failing.worker.queue, EVENT.id) == Acquired()


async def test_an_attempt_counts_once_though_the_store_did_not_answer() -> None:
    store, failing = SilentStore(), Failing(ValueError())
    work = await pipeline_of(failing, store).work(received())
    assert isinstance(work.outcome, Again)
    assert work.outcome.attempt == 2
    assert await store.claim(failing.worker.queue, EVENT.id) == Acquired(failures=1, tried=1)


def test_a_message_that_was_passed_on_very_often_is_never_taken_for_surplus() -> None:
    headers = as_copy({}, MAX_COPY - 1)
    for _ in range(3):
        noted = passed_on(copy_number(headers), Again(1, 1, "retry"))
        headers = as_next_copy(headers)
        assert not is_surplus(copy_number(headers), noted)
    assert copy_of(headers) == MAX_COPY
