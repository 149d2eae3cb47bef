"""Final outcomes of events whatever their function does and however often its process dies: a model, both brokers."""

import asyncio
import sqlite3
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import chain, count, repeat
from pathlib import Path
from typing import TypeVar, cast

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hookline.schemas import topics
from hookline.schemas.broker import Again, Parked, Received
from hookline.schemas.copies import as_next_copy
from hookline.schemas.envelope import to_headers
from hookline.sqlite import schema
from hookline.sqlite.database import Database
from hookline.workers.pipeline import Pipeline
from hookline.workers.pool import Pool
from hookline.workers.stores.sqlite.store import SqliteStore
from hookline.workers.work import Work
from tests.contract.installations import Installation, eventually, queue_name
from tests.contract.promises import Act, Mortal, Move, Scenario, Trial, event_of, message_of, no_time_later
from tests.stopped_pools import stop

T = TypeVar("T")
I = TypeVar("I")  # noqa: E741  an item

WITHIN_S = 60.0
_QUIET = 60  # turns of the loop after which nothing more happens on its own
_MAX_MOVES = 1000  # no scenario needs a tenth


@st.composite
def scenarios(draw: st.DrawFn) -> Scenario:
    acts: st.SearchStrategy[Act] = st.sampled_from(["ok", "fail", "retry", "poison", "die", "die after"])
    scripts = draw(st.lists(st.lists(acts, max_size=6).map(tuple), min_size=1, max_size=4))
    sent = [event for event in range(len(scripts)) for _ in range(draw(st.integers(1, 3)))]
    moves = st.builds(Move, st.integers(0, 3), st.none() | st.none() | st.integers(0, 12))
    return Scenario(
        tuple(scripts),
        tuple(draw(st.permutations(sent))),
        draw(st.integers(1, 4)),
        tuple(draw(st.lists(moves, max_size=12))),
    )


class InLoop:
    """A database without a thread, so that only the scenario decides the order of steps."""

    def __init__(self, connection: sqlite3.Connection, owner: str) -> None:
        self._connection = connection
        self.owner = owner
        connection.execute("DELETE FROM owners")
        connection.execute("INSERT INTO owners VALUES (?, now())", (owner,))

    async def run(self, step: Callable[[sqlite3.Connection], T]) -> T:
        await asyncio.sleep(0)
        with self._connection:
            result = step(self._connection)
        await asyncio.sleep(0)
        return result

    async def share(
        self,
        step: Callable[[sqlite3.Connection, Sequence[I]], Sequence[T | Exception]],
        item: I,
        *,
        durable: bool,
    ) -> T:
        """Runs the step for one item, in memory."""
        (answer,) = await self.share_all(step, [item], durable=durable)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def share_all(
        self,
        step: Callable[[sqlite3.Connection, Sequence[I]], Sequence[T | Exception]],
        items: Sequence[I],
        *,
        durable: bool,  # noqa: ARG002  no process here loses power
    ) -> Sequence[T | Exception]:
        """Runs the step for these items, in memory."""
        return await self.run(lambda connection: step(connection, items))


class Model:
    """A queue in memory, and one process after another that works on it.

    A message that is retried is moved, as in the embedded queue, or a copy with the next number is made of it, as in
    RabbitMQ.
    """

    def __init__(self, scenario: Scenario, connection: sqlite3.Connection, *, is_moved: bool) -> None:
        self._trial = Trial(scenario, self._die, gated=True)
        self._connection = connection
        messages = enumerate(scenario.messages)
        self._queue = deque(_received(message, event, is_moved=is_moved) for message, event in messages)
        self._moves: Iterator[Move] = chain(scenario.moves, repeat(Move()))
        self._moves_left = iter(range(_MAX_MOVES))
        self._tasks: dict[asyncio.Task[Work], Received] = {}
        self._process: Mortal

    async def run(self) -> Trial:
        for number in count():
            self._process = Mortal(InLoop(self._connection, f"process {number}"))
            store = SqliteStore(cast("Database", self._process))
            await self._live(Pipeline(self._trial.worker("model"), store, normalise=event_of, clock=no_time_later))
            if not self._queue:
                break
        return self._trial

    def _die(self) -> None:
        self._process.dead = True

    async def _live(self, pipeline: Pipeline) -> None:
        """Work until the queue is empty or the process dies."""
        while self._queue or self._tasks:
            while self._queue and len(self._tasks) < self._trial.scenario.concurrency:
                received = self._queue.popleft()
                self._tasks[asyncio.create_task(pipeline.take(received))] = received
            await _turns(_QUIET)
            if not await self._settle(pipeline):
                await self._go_on(next(self._moves))
            if self._process.dead:
                await self._bury()
                return

    async def _settle(self, pipeline: Pipeline) -> bool:
        """Carry out the outcomes so far; return whether there were any."""
        done = [task for task in self._tasks if task.done()]
        for task in done:
            received, work = self._tasks.pop(task), task.result()
            self._trial.settled(work)
            is_copied = isinstance(work.outcome, Again) and not received.is_moved
            await pipeline.let_go(work, is_passed_on=is_copied or isinstance(work.outcome, Parked))
            if isinstance(work.outcome, Again):
                headers = as_next_copy(received.headers) if is_copied else received.headers
                again = msgspec.structs.replace(received, headers=headers, attempt=work.outcome.attempt)
                self._queue.append(again)
        return bool(done)

    async def _go_on(self, move: Move) -> None:
        """Let one of the calls continue."""
        next(self._moves_left)
        gates = self._trial.gates
        assert gates, "all calls wait for each other"
        gates.pop(move.call % len(gates)).set_result(None)
        if move.killed_after is not None:
            await _turns(move.killed_after)
            self._process.dead = True
        else:
            await _turns(1)

    async def _bury(self) -> None:
        """Requeue the messages of the process in order, without counting an attempt."""
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)
        self._queue.extendleft(reversed(self._tasks.values()))
        self._trial.died(int(received.body) for received in self._tasks.values())
        self._tasks.clear()


SEQUENCES = {
    "failures": Scenario((("fail", "ok"), ("fail", "fail", "fail"), ("fail", "retry", "fail")), (0, 1, 2, 0, 2)),
    "poison": Scenario((("poison",), ("retry", "poison"), ()), (0, 1, 2, 1)),
    "a death before the effect": Scenario((("die",), (), ("fail",)), (1, 0, 2, 0)),
    "a death after the effect": Scenario((("die after",), ()), (0, 1, 0, 1, 0)),
    "deaths without end": Scenario((("die",) * 6, ("fail", "fail")), (0, 1)),
    "everything": Scenario((("fail", "die", "poison"), ("die after", "retry"), ("ok",)), (2, 1, 0, 2, 1, 0)),
}
each_sequence = pytest.mark.parametrize("scenario", SEQUENCES.values(), ids=SEQUENCES.keys())


@pytest.mark.parametrize("is_moved", [True, False], ids=["moved", "copied"])
@given(scenario=scenarios())
@example(scenario=SEQUENCES["deaths without end"])
@example(scenario=replace(SEQUENCES["deaths without end"], concurrency=2))
@example(scenario=replace(SEQUENCES["everything"], concurrency=3))
@settings(max_examples=300, deadline=None, derandomize=True, database=None)
def test_every_message_gets_exactly_one_final_outcome_in_the_model(*, is_moved: bool, scenario: Scenario) -> None:
    with closing(sqlite3.connect(":memory:")) as connection:
        for name in ("now", "monotonic"):
            connection.create_function(name, 0, no_time_later)
        schema.bring_forward(connection, Path(":memory:"))
        connection.execute("INSERT INTO retry_clock VALUES (0, 0, 0)")
        connection.execute("CREATE TEMP VIEW alive AS SELECT owner FROM owners")
        asyncio.run(Model(scenario, connection, is_moved=is_moved).run()).check_end()


@each_sequence
async def test_every_message_gets_exactly_one_final_outcome_on_a_real_broker(
    installation: Installation, tmp_path: Path, scenario: Scenario
) -> None:
    name = queue_name()
    house = RealHouse(installation, tmp_path / "store.db", name, scenario)
    async with asyncio.timeout(WITHIN_S), installation.opened() as broker:
        await (await broker.subscribe(name, ("#",), 1)).close()
        for message, event in enumerate(scenario.messages):
            await broker.publisher.publish(message_of(message, event))
        while not house.trial.over:
            await house.live()
        house.trial.check_end()
        parked = [end for end in house.trial.ends.values() if isinstance(end, Parked)]

        async def is_at_rest() -> bool:
            left = await installation.depth(topics.queue_name(name))
            return (left, await broker.dead_letters.count(name)) == (0, len(parked))

        await eventually(is_at_rest)


class RealHouse:
    """One process after another on a real broker, each with its own connections and its own name in the store."""

    def __init__(self, installation: Installation, path: Path, name: str, scenario: Scenario) -> None:
        self.trial = Trial(scenario, self._die, gated=False)
        self._installation = installation
        self._path = path
        self._name = name
        self._process: Mortal
        self._ended: asyncio.Event

    def _die(self) -> None:
        self._process.dead = True
        self._ended.set()

    def _report(self, _queue: str, settled: Sequence[tuple[Work, float]]) -> None:
        for work, _ in settled:
            self.trial.settled(work)
        if self.trial.over:
            self._ended.set()

    async def live(self) -> None:
        """Work until the queue is empty or the process dies."""
        database = await Database.open(self._path)
        self._process, self._ended = Mortal(database), asyncio.Event()
        store = SqliteStore(cast("Database", self._process))
        pipeline = Pipeline(self.trial.worker(self._name), store, normalise=event_of, clock=no_time_later)
        async with self._installation.opened() as broker:
            pool = Pool(pipeline, await broker.subscribe(self._name, ("#",), 4), self._report)
            running = [asyncio.create_task(each) for each in (pool.run(), _wait(self._ended))]
            await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            # Not while it settles: a message that was published again and not acknowledged comes twice, as it should.
            await stop(pool, 5)
            await asyncio.gather(running[0])
            running[1].cancel()
        await database.close()
        if self._process.dead:
            self.trial.died(())


async def _wait(event: asyncio.Event) -> None:
    await event.wait()


async def _turns(number: int) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


def _received(message: int, event: int, *, is_moved: bool) -> Received:
    sent = message_of(message, event)
    return Received(to_headers(sent), sent.content_type, sent.body, 1, None, is_moved)
