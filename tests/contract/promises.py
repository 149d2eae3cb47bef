"""Scenarios of what a function and its process do to events, and the checks of the outcomes."""

import asyncio
import sqlite3
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol, TypeAlias, TypeVar

from hookline import Backoff, Delivery, Poisoned, Retry, Worker, worker
from hookline.events import CanonicalEvent, RoomCreated
from hookline.schemas.broker import Again, Done, Outcome, Parked
from hookline.schemas.copies import MAX_COPY, copy_of
from hookline.schemas.envelope import Envelope
from hookline.workers.failure_policy import BUSY_RETRY_S
from hookline.workers.work import Work
from tests.contract.installations import envelope
from tests.events import make

T = TypeVar("T")
I = TypeVar("I")  # noqa: E741  an item
Act: TypeAlias = Literal["ok", "fail", "retry", "poison", "die", "die after"]
"""What the function does in a call. "ok" and "die after" have the effect; "die after" dies after it."""

ATTEMPTS = 3


class Move(NamedTuple):
    """Which waiting call continues, and after how many turns of the loop the process is killed, if at all."""

    call: int = 0
    killed_after: int | None = None


@dataclass(frozen=True)
class Scenario:
    """What the function does in each call for each event (then "ok"), and the event of each message."""

    scripts: tuple[tuple[Act, ...], ...]
    messages: tuple[int, ...]
    concurrency: int = 1
    moves: tuple[Move, ...] = ()


class Died(BaseException):
    """The death of the process, as the function sees it."""


class Trial:
    """One run of a scenario, checked against what is promised.

    A copy of a message has its number. It may be called, and even end, before the outcome of the message that it was
    made of is reported: that waits for the broker's confirm.
    """

    def __init__(self, scenario: Scenario, die: Callable[[], None], *, gated: bool) -> None:
        self.scenario = scenario
        self.ends: dict[int, Outcome] = {}
        self.gates: list[asyncio.Future[None]] = []
        self._die = die
        self._gated = gated
        self._acts: dict[tuple[int, int], Act] = {}  # of a message, and of the number of its copy
        self._calls: Counter[int] = Counter()
        self._failures: Counter[int] = Counter()  # of each event, all its messages together
        self._counted: Counter[int] = Counter()  # those that the store has counted for sure
        self._given: dict[tuple[int, int], int] = {}
        self._ended_copy: dict[int, int] = {}
        self._effects: Counter[int] = Counter()
        self._effects_of_the_dead: Counter[int] = Counter()
        self._deaths: Counter[int] = Counter()
        self._deaths_in_a_row: Counter[int] = Counter()
        self._parked: set[int] = set()
        self._returned: set[int] = set()
        self._dead = False

    @property
    def over(self) -> bool:
        """Whether all messages have ended, and the outcome of every call is reported. A late confirm delays that."""
        return len(self.ends) == len(self.scenario.messages) and not self._acts

    def worker(self, queue: str) -> Worker[RoomCreated]:
        retry = Backoff(first_s=0, jitter=0, attempts=ATTEMPTS)

        @worker(topic="#", queue=queue, retry=retry, concurrency=1)
        async def act(event: CanonicalEvent, delivery: Delivery) -> None:
            await self._act(int(delivery.body), copy_of(delivery.headers), delivery.attempt)

        return act

    async def _act(self, message: int, copy: int, attempt: int) -> None:
        if self._dead:  # other calls in flight do not begin any more
            await _cancel_this_call()
        event = self.scenario.messages[message]
        assert 1 + self._counted[event] <= attempt <= 1 + self._failures[event]
        assert event not in self._parked, "an event is called again after its end"
        self._given[message, copy] = attempt
        if self._gated:
            gate = asyncio.get_running_loop().create_future()
            self.gates.append(gate)
            await gate
        script = self.scenario.scripts[event]
        assert (message, copy) not in self._acts, "a call begins before the outcome of the last one was reported"
        act = self._acts[message, copy] = script[self._calls[event]] if self._calls[event] < len(script) else "ok"
        self._calls[event] += 1
        if act not in ("die", "die after"):
            self._deaths_in_a_row[event] = 0
        if act in ("ok", "die after"):
            self._effects[event] += 1
        match act:
            case "ok":
                self._returned.add(event)
            case "fail":
                self._failures[event] += 1
                raise ValueError(message)
            case "retry":
                raise Retry(after_s=0)
            case "poison":
                raise Poisoned("bad")
            case "die" | "die after":
                self._dead = True
                self._die()
                raise Died

    def died(self, in_flight: Iterable[int]) -> None:
        """Messages in flight come again. The one that killed its process is to blame, or else any of them."""
        guilty = {message for (message, _), act in self._acts.items() if act in ("die", "die after")}
        self._deaths.update(self.scenario.messages[message] for message in guilty or in_flight)
        for (message, _), act in self._acts.items():
            if act in ("ok", "die after"):
                self._effects_of_the_dead[self.scenario.messages[message]] += 1
        self._deaths_in_a_row.update(self.scenario.messages[message] for message in guilty)
        self._dead = False
        self._acts.clear()
        self.gates.clear()
        # The first deaths are not counted: another event may have caused them.
        assert max(self._deaths_in_a_row.values(), default=0) <= 2 + ATTEMPTS, "an event may kill processes forever"

    def settled(self, work: Work) -> None:
        """Check the outcome against what the function did in this delivery."""
        message, copy = int(work.received.body), copy_of(work.received.headers)
        assert copy < self._ended_copy.get(message, MAX_COPY), "a message came again after its final outcome"
        event, outcome = self.scenario.messages[message], work.outcome
        self._deaths_in_a_row[event] = 0
        if isinstance(outcome, Again) and outcome.reason == "busy":
            # The function was not called. A retry without a delay may arrive, and say so, before its first delivery
            # has been reported: the confirm that its report waits for is late.
            self._was_not_called(message, outcome)
            return
        attempt = self._given.pop((message, copy), 0)
        match self._acts.pop((message, copy), None):
            case "ok":
                assert outcome == Done("handled")
            case "retry":
                assert outcome == Again(0, attempt, "retry")
            case "poison":
                assert outcome == Parked("poisoned", "bad", attempt)
            case "fail" if attempt < ATTEMPTS:
                assert isinstance(outcome, Again)
                assert (outcome.delay_s, outcome.attempt, outcome.reason) == (0, attempt + 1, "failed")
                self._counted[event] = max(self._counted[event], attempt)
            case "fail":
                assert isinstance(outcome, Parked)
                assert (outcome.reason, outcome.attempts) == ("failed", ATTEMPTS)
            case act:
                assert act is None, "a dead process settles nothing"
                self._was_not_called(message, outcome)
        if isinstance(outcome, Parked):
            self._parked.add(event)
        if not isinstance(outcome, Again):
            self.ends[message] = outcome
            self._ended_copy[message] = copy

    def _was_not_called(self, message: int, outcome: Outcome) -> None:
        """The event has ended before, or ends in another message of it, or it has killed its process too often."""
        event = self.scenario.messages[message]
        if isinstance(outcome, Parked):
            assert event not in self._parked, "an event ends once"
            assert outcome.reason != "crashed" or self._deaths[event] + self._failures[event] >= ATTEMPTS
        elif isinstance(outcome, Again):
            assert (outcome.reason, outcome.delay_s) == ("busy", BUSY_RETRY_S)
        else:
            assert outcome == Done("duplicate")
            assert event in self._returned or event in self._parked or self._is_retried(message)

    def _is_retried(self, message: int) -> bool:
        """Whether another message of the event has not ended."""
        event = self.scenario.messages[message]
        return any(of == event and each not in (message, *self.ends) for each, of in enumerate(self.scenario.messages))

    def check_end(self) -> None:
        assert self.over
        for event in range(len(self.scenario.scripts)):
            ends = [self.ends[message] for message, of in enumerate(self.scenario.messages) if of == event]
            assert sum(end != Done("duplicate") for end in ends) <= 1
            assert event in self._returned or event in self._parked, "an event is lost"
            assert self._effects[event] - self._effects_of_the_dead[event] <= 1
            if event in self._returned:
                assert self._effects[event] >= 1
                assert self._effects_of_the_dead[event] or ends.count(Done("handled")) == 1


async def _cancel_this_call() -> None:
    this = asyncio.current_task()
    assert this is not None
    this.cancel()
    await asyncio.sleep(0)


class Steps(Protocol):
    """What the SQLite store uses of `Database`."""

    @property
    def owner(self) -> str: ...

    async def run(self, step: Callable[[sqlite3.Connection], T]) -> T: ...

    def share(
        self, step: Callable[[sqlite3.Connection, Sequence[I]], Sequence[T | Exception]], item: I, *, durable: bool
    ) -> Awaitable[T]: ...

    def share_all(
        self,
        step: Callable[[sqlite3.Connection, Sequence[I]], Sequence[T | Exception]],
        items: Sequence[I],
        *,
        durable: bool,
    ) -> Awaitable[Sequence[T | Exception]]: ...


class Mortal:
    """The database of a process. Once the process is dead, its tasks stop and write nothing."""

    def __init__(self, database: Steps) -> None:
        self._database = database
        self.dead = False

    @property
    def owner(self) -> str:
        return self._database.owner

    def on_heartbeat(self, renewal: Callable[[sqlite3.Connection, float], None]) -> None:
        """What is claimed here is claimed until the process dies."""

    async def run(self, step: Callable[[sqlite3.Connection], T]) -> T:
        self._check()
        result = await self._database.run(step)
        self._check()
        return result

    async def share(
        self, step: Callable[[sqlite3.Connection, Sequence[I]], Sequence[T | Exception]], item: I, *, durable: bool
    ) -> T:
        self._check()
        result = await self._database.share(step, item, durable=durable)
        self._check()
        return result

    async def share_all(
        self,
        step: Callable[[sqlite3.Connection, Sequence[I]], Sequence[T | Exception]],
        items: Sequence[I],
        *,
        durable: bool,
    ) -> Sequence[T | Exception]:
        self._check()
        answers = await self._database.share_all(step, items, durable=durable)
        self._check()
        return answers

    def _check(self) -> None:
        if self.dead:
            raise asyncio.CancelledError


def message_of(message: int, event: int) -> Envelope:
    return envelope(number=event, body=str(message).encode())


def event_of(sent: Envelope) -> tuple[CanonicalEvent, ...]:
    return (make(RoomCreated, sent.id),)


def no_time_later() -> float:
    return message_of(0, 0).received_at.timestamp()
