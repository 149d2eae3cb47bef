"""A publisher is not ready while a reason lasts that refuses most of what is published."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import cast

import pytest

from hookline.aio.notices import Notice
from hookline.aio.refusal_tally import RefusalTally
from hookline.broker.embedded import write_probe
from hookline.broker.embedded.broker import EmbeddedBroker
from hookline.broker.embedded.publisher import Limits
from hookline.broker.rabbitmq.confirm_watch import ConfirmWatch
from hookline.broker.rabbitmq.confirms import REFUSED, Confirms
from hookline.schemas.broker import Done
from hookline.schemas.errors import NotDurable
from hookline.sqlite.database import Database
from tests.contract.installations import envelope, eventually, queue_name, taken


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def counted(tally: RefusalTally, results: str) -> str:
    """The lasting reason after these results: r is a refusal, a an accepted publish."""
    for result in results:
        if result == "r":
            tally.refused("queue_full")
        elif tally.count:
            tally.accepted()
    return tally.lasting


def test_a_few_refusals_are_no_lasting_reason() -> None:
    assert counted(RefusalTally(Clock()), "rrrr") == ""
    assert counted(RefusalTally(Clock()), "ra" * 100) == ""


def test_most_publishes_refused_is_a_lasting_reason_even_if_some_succeed() -> None:
    tally = RefusalTally(Clock())
    for _ in range(100):
        assert counted(tally, "r" * 115 + "a") == "queue_full"


def test_successes_end_the_reason() -> None:
    tally = RefusalTally(Clock())
    counted(tally, "r" * 1000)
    assert counted(tally, "a" * 20) == ""


def test_without_traffic_it_is_tried_again_and_one_more_refusal_brings_the_reason_back() -> None:
    clock = Clock()
    tally = RefusalTally(clock)
    assert counted(tally, "r" * 10) == "queue_full"
    clock.now_s += 11
    assert tally.lasting == ""
    assert counted(tally, "r") == "queue_full"


def test_a_notice_is_due_when_it_is_new_and_each_minute() -> None:
    clock = Clock()
    notice = Notice(clock)
    assert [notice.is_due("a"), notice.is_due("a"), notice.is_due("b"), notice.is_due("a")] == [True, False, True, True]
    clock.now_s += 59
    assert not notice.is_due("a")
    clock.now_s += 2
    assert notice.is_due("a")
    notice.forget()
    assert notice.is_due("a")


class Waiting(Confirms):
    """Confirms of a channel that has written something."""

    is_waiting = True


def watched(*looks: str) -> ConfirmWatch:
    """A watch after these looks: a for an ack since the last one, n for a nack."""
    confirms = Waiting(5.0, RefusalTally())
    watch = ConfirmWatch(confirms)
    for look in looks:
        if look == "a":
            confirms.settle(1, multiple=False)
        if look == "n":
            confirms.settle(1, multiple=False, refusal=REFUSED)
        watch.look()
    return watch


@pytest.mark.parametrize(
    ("looks", "is_silent", "only_refuses"),
    [
        pytest.param(" " * 9, False, False, id="nothing for nine looks"),
        pytest.param(" " * 10, True, False, id="nothing for ten looks"),
        pytest.param(" " * 9 + "a" + " " * 9, False, False, id="a confirm between"),
        pytest.param("n" + " " * 4, False, True, id="one refusal, and no confirm after it"),
        pytest.param("nnna" + "nnnn", False, False, id="a confirm between refusals"),
        pytest.param("nnnnn", False, True, id="only refusals"),
    ],
)
async def test_a_watch_tells_a_silent_channel_from_one_that_only_refuses(
    looks: str, *, is_silent: bool, only_refuses: bool
) -> None:
    watch = watched(*looks)
    assert (watch.is_silent, watch.only_refuses) == (is_silent, only_refuses)


@pytest.fixture
async def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Database]:
    monkeypatch.setattr(write_probe, "_PROBE_EVERY_S", 0.05)
    database = await Database.open(tmp_path / "hookline.db")
    yield database
    await database.close()


def _limit_pages(connection: sqlite3.Connection, *, pages: int) -> int:
    """SQLite refuses to grow beyond this, as on a full disk. A limit below the size means the size."""
    (limit,) = connection.execute(f"PRAGMA max_page_count = {pages}").fetchone()
    return cast("int", limit)


async def refused(broker: EmbeddedBroker, times: int) -> None:
    for _ in range(times):
        with pytest.raises(NotDurable):
            await broker.publisher.publish(envelope(body=b"x" * 100_000))


async def test_a_full_disk_ends_the_readiness_until_there_is_room(database: Database) -> None:
    broker = EmbeddedBroker(database)
    await (await broker.subscribe(queue_name(), ("#",), 1)).close()
    await database.run(partial(_limit_pages, pages=1))
    await refused(broker, 5)
    assert (broker.publisher.ready, broker.publisher.reason) == (False, "disk_full")
    await database.run(partial(_limit_pages, pages=1_000_000))

    async def ready() -> bool:
        return broker.publisher.ready

    await eventually(ready)  # although nothing is published
    await broker.publisher.publish(envelope())
    await broker.close()


async def test_a_full_queue_ends_the_readiness_until_there_is_room(database: Database) -> None:
    broker = EmbeddedBroker(database, Limits(max_bytes=2**20))
    queue = await broker.subscribe(queue_name(), ("#",), 1)
    published = 0
    while broker.publisher.ready:
        try:
            await broker.publisher.publish(envelope(body=b"x" * 100_000))
            published += 1
        except NotDurable:
            await asyncio.sleep(0)
    assert broker.publisher.reason == "queue_full"
    for _ in range(published):
        (received,) = await taken(queue)
        await queue.settle(received, Done())

    async def ready() -> bool:
        return broker.publisher.ready

    await eventually(ready)
    await broker.close()
