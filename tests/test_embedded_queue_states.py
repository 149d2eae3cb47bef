"""What it costs to look at the embedded broker's queues, as every process does while it runs, and commands do."""

import asyncio
import sqlite3
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from hookline.broker.embedded import queue_states
from hookline.broker.embedded.queue_states import EmbeddedQueueStates
from hookline.broker.embedded.retries import EmbeddedRetries
from hookline.schemas.dead_letters import Action
from hookline.schemas.queue_states import QueueState
from hookline.schemas.topics import partition_name, queue_name
from hookline.sqlite.database import Database
from tests.contract.installations import put_in_queues

NAMES = [queue_name("billing"), partition_name("billing", "p07"), queue_name("billing-2")]
ENDLESS = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
SOON_S = 0.2
STEPS_TO_COUNT = 8


async def with_waiting(path: Path, count: int) -> EmbeddedQueueStates:
    """A file in which so many messages wait in each of three queues. The first in each is of a process that died."""

    def fill(connection: sqlite3.Connection) -> None:
        put_in_queues(connection, NAMES, count)
        connection.execute("UPDATE deliveries SET owner = 'dead' WHERE seq = 1")

    database = await Database.open(path)
    await database.run(fill)
    await database.close()
    return EmbeddedQueueStates(path)


async def looked_at(states: EmbeddedQueueStates, monkeypatch: pytest.MonkeyPatch) -> tuple[Sequence[QueueState], int]:
    """The states of a queue, and how many steps SQLite took to find them."""
    steps = 0

    def count() -> None:
        nonlocal steps
        steps += 1

    class Counting(sqlite3.Connection):
        def __init__(self, *given: Any, **named: Any) -> None:
            super().__init__(*given, **named)
            super().set_progress_handler(count, 1)

        def set_progress_handler(self, *_: object) -> None:
            """It has one."""

    connect = sqlite3.connect
    with monkeypatch.context() as patch:
        patch.setattr(sqlite3, "connect", lambda *given, **named: connect(*given, factory=Counting, **named))
        found = await states.states(["billing"])
    return found, steps


async def steps_to_first_retry(path: Path, name: str, count: int) -> int:
    """How many steps SQLite takes until the first of so many pending retries is there. They are counted first."""
    steps = 0

    def step() -> None:
        nonlocal steps
        steps += 1

    def fill(connection: sqlite3.Connection) -> None:
        put_in_queues(connection, [name], count)
        connection.execute("INSERT INTO delayed SELECT queue, seq / 10, seq, 2 FROM deliveries")
        connection.execute("DELETE FROM deliveries")

    database = await Database.open(path)
    await database.run(fill)
    await database.run(lambda connection: connection.set_progress_handler(step, 1))
    async with aclosing(EmbeddedRetries(database, lambda: None).scan("billing", lambda _: Action.KEEP)) as found:
        assert (await anext(found)).message.attempt == 2
    await database.close()
    return steps


async def test_a_look_costs_little_for_each_message_that_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few, steps_of_few = await looked_at(await with_waiting(tmp_path / "few.db", 100), monkeypatch)
    many, steps_of_many = await looked_at(await with_waiting(tmp_path / "many.db", 2100), monkeypatch)
    assert [(each.waiting, each.in_flight) for each in (*few, *many)] == [(200, 0), (4200, 0)]
    assert (steps_of_many - steps_of_few) / 4000 < 20


@pytest.mark.parametrize("name", NAMES[:2])
async def test_a_page_of_pending_retries_costs_the_same_however_many_there_are(tmp_path: Path, name: str) -> None:
    few = await steps_to_first_retry(tmp_path / "few.db", name, 1000)
    many = await steps_to_first_retry(tmp_path / "many.db", name, 4000)
    assert (many - few) / 3000 < STEPS_TO_COUNT


async def test_a_look_that_is_given_up_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    states = await with_waiting(tmp_path / "queues.db", 1)
    monkeypatch.setattr(queue_states, "_NAMES", ENDLESS)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(SOON_S):
            await states.names()
    async with asyncio.timeout(30):
        await asyncio.get_running_loop().shutdown_default_executor()
