"""What it costs to look at the embedded broker's queues: every process does so while it runs."""

import asyncio
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from hookline.broker.embedded import queue_states
from hookline.broker.embedded.queue_states import EmbeddedQueueStates
from hookline.broker.embedded.tables import Router, bind, state
from hookline.schemas.broker import NOTHING_KEPT
from hookline.schemas.queue_states import QueueState
from hookline.schemas.topics import partition_name, queue_name
from hookline.sqlite.database import Database
from tests.contract.installations import envelope

NAMES = [queue_name("billing"), partition_name("billing", "p07"), queue_name("billing-2")]
ENDLESS = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
SOON_S = 0.2


async def with_waiting(path: Path, count: int) -> EmbeddedQueueStates:
    """A file in which so many messages wait in each of three queues. The first in each is of a process that died."""

    def fill(connection: sqlite3.Connection) -> None:
        for name in NAMES:
            bind(connection, queue=name, patterns={"#"})
        events = [envelope() for _ in range(count)]
        Router().store(connection, state(connection), envelopes=events, retention=NOTHING_KEPT)
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


async def test_a_look_costs_little_for_each_message_that_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few, steps_of_few = await looked_at(await with_waiting(tmp_path / "few.db", 100), monkeypatch)
    many, steps_of_many = await looked_at(await with_waiting(tmp_path / "many.db", 2100), monkeypatch)
    assert [(each.waiting, each.in_flight) for each in (*few, *many)] == [(200, 0), (4200, 0)]
    assert (steps_of_many - steps_of_few) / 4000 < 20


async def test_a_look_that_is_given_up_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    states = await with_waiting(tmp_path / "queues.db", 1)
    monkeypatch.setattr(queue_states, "_NAMES", ENDLESS)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(SOON_S):
            await states.names()
    async with asyncio.timeout(30):
        await asyncio.get_running_loop().shutdown_default_executor()
