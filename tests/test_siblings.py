"""A callback that names several members makes several events: each has its own attempts and its own end."""

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from hookline import Backoff, Poisoned, Retry, Worker, worker
from hookline.events import CanonicalEvent, ParticipantJoined, RoomCreated
from hookline.schemas.broker import Again, Done, Outcome, Parked, Received
from hookline.schemas.copies import as_copy
from hookline.schemas.dead_letters import EVENTS, REPLAYS
from hookline.schemas.envelope import Envelope, to_headers
from hookline.sqlite.database import Database
from hookline.workers.attempts import end_mark
from hookline.workers.normaliser import Normalise
from hookline.workers.pipeline import Pipeline
from hookline.workers.store import Acquired, Claim, LeasedElsewhere, MemoryStore, Store
from hookline.workers.stores.sqlite.store import SqliteStore
from tests.contract.installations import envelope
from tests.events import make

ATTEMPTS = 3
MEMBERS = ("anna", "ben", "carla")
RETRY = Backoff(first_s=0, jitter=0, attempts=ATTEMPTS)


def members(_: Envelope) -> tuple[CanonicalEvent, ...]:
    return tuple(make(ParticipantJoined, user, user_id=user) for user in MEMBERS)


def pipeline_of(
    worker: Worker[ParticipantJoined], store: Store | None = None, normalise: Normalise = members
) -> Pipeline:
    now_s = envelope().received_at.timestamp()
    return Pipeline(worker, store or MemoryStore(), normalise=normalise, clock=lambda: now_s)


class Members:
    """A worker that fails for some members, and counts its calls."""

    def __init__(self, failing: dict[str, Exception], *, ordered: bool = False) -> None:
        self.failing = failing
        self.calls: Counter[str] = Counter()
        self.worker = self._worker(ordered=ordered)

    def _worker(self, *, ordered: bool) -> Worker[ParticipantJoined]:
        @worker(ParticipantJoined, retry=RETRY, ordered=ordered)
        async def welcome(event: ParticipantJoined) -> None:
            self.calls[event.user_id] += 1
            if event.user_id in self.failing:
                raise self.failing[event.user_id]

        return welcome


async def deliver(pipeline: Pipeline, headers: dict[str, str] | None = None, attempt: int = 1) -> list[Outcome]:
    """Deliver a message and its copies until one is settled, as its queue does; what became of each delivery."""
    outcomes: list[Outcome] = []
    sealed = {**to_headers(envelope("participant.joined", number=1)), **(headers or {})}
    while not outcomes or isinstance(outcomes[-1], Again):
        received = Received(as_copy(sealed, len(outcomes)), "", b"{}", attempt, None)
        outcomes.append((await pipeline.work(received)).outcome)
        if isinstance(outcomes[-1], Again):
            attempt = outcomes[-1].attempt
        assert len(outcomes) < 20
    return outcomes


@pytest.mark.parametrize("ordered", [False, True], ids=["plain", "ordered"])
async def test_a_member_that_always_fails_keeps_no_other_from_its_call(*, ordered: bool) -> None:
    welcome = Members({"anna": ValueError("no")}, ordered=ordered)
    outcomes = await deliver(pipeline_of(welcome.worker))
    assert welcome.calls == {"anna": ATTEMPTS, "ben": 1, "carla": 1}
    parked = outcomes[-1]
    assert isinstance(parked, Parked)
    assert (parked.reason, parked.attempts, parked.events) == ("failed", ATTEMPTS, ("anna",))


async def test_each_member_has_its_own_attempts() -> None:
    welcome = Members({"anna": ValueError("no"), "carla": Poisoned("never")})
    outcomes = await deliver(pipeline_of(welcome.worker))
    assert welcome.calls == {"anna": ATTEMPTS, "ben": 1, "carla": 1}
    parked = outcomes[-1]
    assert isinstance(parked, Parked)
    assert parked.events == ("anna", "carla")
    assert "never" in parked.detail


async def test_another_process_does_not_call_a_member_that_used_up_its_attempts() -> None:
    store = MemoryStore()
    failing: dict[str, Exception] = {"anna": ValueError("no"), "ben": Retry(after_s=1)}
    first, second = Members(failing), Members(failing)
    one, other = (pipeline_of(each.worker, store) for each in (first, second))
    sealed = to_headers(envelope("participant.joined", number=1))
    for copy, pipeline in enumerate((one, other, one)):
        await pipeline.work(Received(as_copy(sealed, copy), "", b"{}", 1, None))
    assert first.calls["anna"] + second.calls["anna"] == ATTEMPTS
    outcome = (await other.work(Received(as_copy(sealed, ATTEMPTS), "", b"{}", 1, None))).outcome
    assert isinstance(outcome, Again)
    assert outcome.reason == "retry"
    assert first.calls["anna"] + second.calls["anna"] == ATTEMPTS


async def test_the_end_of_a_member_is_noted_once_however_often_its_callback_is_repeated() -> None:
    store = MemoryStore()
    welcome = Members({"anna": Poisoned("never"), "ben": Retry(after_s=1)})
    pipeline = pipeline_of(welcome.worker, store)
    sealed = to_headers(envelope("participant.joined", number=1))
    for copy in range(3):
        await pipeline.work(Received(as_copy(sealed, copy), "", b"{}", 1, None))
    claim = await store.claim(welcome.worker.queue, "anna")
    assert isinstance(claim, Acquired)
    assert claim.failures == end_mark(Parked("poisoned", "", 1)) + 1


async def test_a_replay_handles_only_the_members_that_failed_and_starts_anew() -> None:
    welcome = Members({"anna": ValueError("no")})
    pipeline = pipeline_of(welcome.worker)
    await deliver(pipeline)
    welcome.failing = {}
    assert await deliver(pipeline, {EVENTS: "anna", REPLAYS: "1"}) == [Done()]
    assert welcome.calls == {"anna": ATTEMPTS + 1, "ben": 1, "carla": 1}


async def test_a_replay_that_fails_again_has_all_its_attempts() -> None:
    welcome = Members({"anna": ValueError("no")})
    pipeline = pipeline_of(welcome.worker)
    await deliver(pipeline)
    outcomes = await deliver(pipeline, {EVENTS: "anna", REPLAYS: "1"})
    assert welcome.calls["anna"] == 2 * ATTEMPTS
    assert isinstance(outcomes[-1], Parked)


async def test_if_all_members_fail_the_dead_letter_names_none() -> None:
    failing: dict[str, Exception] = dict.fromkeys(MEMBERS, ValueError("no"))
    welcome = Members(failing)
    outcomes = await deliver(pipeline_of(welcome.worker))
    assert welcome.calls == dict.fromkeys(MEMBERS, ATTEMPTS)
    parked = outcomes[-1]
    assert isinstance(parked, Parked)
    assert parked.events == ()


async def test_of_two_events_with_one_id_the_first_is_handled_and_the_delivery_ends(tmp_path: Path) -> None:
    """A provider's module that names its events wrongly makes them."""
    welcome = Members({"anna": ValueError("no")})
    users = [("x", "anna"), ("y", "ben"), ("x", "carla")]
    database = await Database.open(tmp_path / "store.db")
    made = tuple(make(ParticipantJoined, event_id, user_id=user) for event_id, user in users)
    outcomes = await deliver(pipeline_of(welcome.worker, SqliteStore(database), lambda _: made))
    await database.close()
    assert welcome.calls == {"anna": ATTEMPTS, "ben": 1}
    parked = outcomes[-1]
    assert isinstance(parked, Parked)
    assert parked.events == ("x",)


async def test_a_member_that_another_process_handles_keeps_no_other_from_its_call() -> None:
    class Taken(MemoryStore):
        async def claim(self, queue: str, event_id: str, subject: str | None = None) -> Claim:
            return LeasedElsewhere() if event_id == "anna" else await super().claim(queue, event_id, subject)

    welcome = Members({})
    pipeline = pipeline_of(welcome.worker, Taken())
    received = Received(to_headers(envelope("participant.joined", number=1)), "", b"{}", 1, None)
    outcome = (await pipeline.work(received)).outcome
    assert isinstance(outcome, Again)
    assert (outcome.reason, outcome.attempt) == ("busy", 1)
    assert welcome.calls == {"ben": 1, "carla": 1}


class CancelledClaims(MemoryStore):
    """It carries out the claims on ben, and the task that makes the second one is cancelled."""

    _claims_on_ben = 0

    async def claim(self, queue: str, event_id: str, subject: str | None = None) -> Claim:
        claim = await super().claim(queue, event_id, subject)
        self._claims_on_ben += event_id == "ben"
        if event_id == "ben" and self._claims_on_ben == 2:
            raise asyncio.CancelledError
        return claim


async def test_a_cancelled_delivery_that_nobody_wants_leaves_no_claim_behind() -> None:
    @worker(RoomCreated)
    async def rooms(event: RoomCreated) -> None:
        """Wants no member."""

    store = CancelledClaims()
    pipeline = Pipeline(rooms, store, normalise=members, unwanted_after_s=0)
    received = Received(to_headers(envelope("participant.joined", number=1)), "", b"{}", 1, None)
    with pytest.raises(asyncio.CancelledError):
        await pipeline.take(received)
    assert all([isinstance(await store.claim("rooms", user), Acquired) for user in MEMBERS])
