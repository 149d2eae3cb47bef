"""The contract of both brokers for what waits for its next attempt: it is seen, made due, dropped, and never lost."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import aclosing
from datetime import UTC, datetime, timedelta

import pytest

from hookline.schemas.broker import Again, Broker, Queue, Received
from hookline.schemas.copies import COPY
from hookline.schemas.dead_letters import Action, Scanned
from hookline.schemas.envelope import to_headers
from hookline.schemas.errors import SettingsError
from hookline.schemas.retries import MAX_ERROR_BYTES, PendingRetry
from tests.contract.installations import Installation, envelope, eventually, queue_name, taken

ALL = ("#",)
FAR_S = 600.0
MANY = 450  # more than two pages
WITHIN_S = 60.0
ERROR = "Traceback …\n  File billing.py\nValueError: 毒"


async def scan(broker: Broker, queue: str, decide: Callable[[PendingRetry], Action]) -> list[Scanned[PendingRetry]]:
    async with aclosing(broker.retries.scan(queue, decide)) as scanning:
        return [each async for each in scanning]


async def look(broker: Broker, queue: str) -> list[PendingRetry]:
    return [each.message for each in await scan(broker, queue, lambda _: Action.KEEP)]


def ids(messages: Sequence[PendingRetry]) -> list[int]:
    return [int(each.envelope.id, 16) for each in messages if each.envelope is not None]


def ids_received(received: Sequence[Received]) -> list[int]:
    return [int(str(each.headers["cloudEvents_id"]), 16) for each in received]


async def delay(broker: Broker, queue: Queue, count: int, again: Again) -> None:
    """Publish `count` events, numbered from 0, and have them wait."""
    await asyncio.gather(*(broker.publisher.publish(envelope(number=number)) for number in range(count)))
    for received in await taken(queue, count, WITHIN_S):
        await queue.settle(received, again)


async def waiting(broker: Broker, name: str, count: int) -> None:
    async def are_there() -> bool:
        return await broker.retries.count(name) == count

    await eventually(are_there, WITHIN_S)


async def with_waiting(broker: Broker, count: int, delay_s: float = FAR_S) -> tuple[str, Queue]:
    name = queue_name()
    queue = await broker.subscribe(name, ALL, max(10, count))
    await delay(broker, queue, count, Again(delay_s, 3, "failed", kept_error=ERROR))
    await waiting(broker, name, count)
    return name, queue


async def test_what_waits_is_seen_with_its_attempt_its_time_and_its_error(broker: Broker) -> None:
    name = queue_name()
    queue = await broker.subscribe(name, ALL, 10)
    event = envelope(body=b"\x00body", subject="会议室 🎥")
    await broker.publisher.publish(event)
    (received,) = await taken(queue)
    before = datetime.now(UTC)
    await queue.settle(received, Again(FAR_S, 3, "timeout", "a detail", "not kept", ERROR))
    await waiting(broker, name, 1)
    (retry,) = await look(broker, name)
    assert (retry.attempt, retry.reason, retry.error) == (3, "timeout", ERROR)
    assert retry.due_at is not None
    assert before <= retry.due_at - timedelta(seconds=FAR_S - 1) <= datetime.now(UTC) + timedelta(seconds=1)
    assert (retry.body, retry.headers, retry.content_type) == (b"\x00body", to_headers(event), "application/json")
    assert retry.envelope == event
    assert (await broker.retries.counts())[name] == 1


async def test_of_a_long_error_the_end_is_kept(broker: Broker) -> None:
    name = queue_name()
    queue = await broker.subscribe(name, ALL, 10)
    await delay(broker, queue, 1, Again(FAR_S, 2, "failed", kept_error="毒" * 10_000 + "\ud800 the end"))
    await waiting(broker, name, 1)
    (retry,) = await look(broker, name)
    assert retry.error.endswith("毒\\ud800 the end")
    assert MAX_ERROR_BYTES - 3 <= len(retry.error.encode()) <= MAX_ERROR_BYTES


async def test_the_notes_of_a_wait_do_not_reach_the_worker(broker: Broker) -> None:
    name = queue_name()
    queue = await broker.subscribe(name, ALL, 10)
    event = envelope()
    await broker.publisher.publish(event)
    (received,) = await taken(queue)
    await queue.settle(received, Again(0.1, 2, "failed", kept_error=ERROR))
    (again,) = await taken(queue)
    headers = {name: value for name, value in again.headers.items() if name != COPY}
    assert (again.attempt, headers) == (2, to_headers(event))


async def test_looking_takes_nothing_away_and_keeps_the_order(broker: Broker) -> None:
    name, _ = await with_waiting(broker, MANY)
    first = ids(await look(broker, name))
    assert sorted(first) == list(range(MANY))
    for _ in range(2):
        assert ids(await look(broker, name)) == first


async def test_what_is_made_due_comes_at_once_as_the_attempt_that_it_was(broker: Broker) -> None:
    name, queue = await with_waiting(broker, 6)
    scanned = await scan(broker, name, lambda retry: Action.REPLAY if ids([retry])[0] % 2 else Action.KEEP)
    assert sorted(ids([each.message for each in scanned if each.action is Action.REPLAY])) == [1, 3, 5]
    received = await taken(queue, 3)
    assert sorted(ids_received(received)) == [1, 3, 5]
    assert {each.attempt for each in received} == {3}
    await waiting(broker, name, 3)
    assert sorted(ids(await look(broker, name))) == [0, 2, 4]


async def test_what_is_dropped_is_gone(broker: Broker) -> None:
    name, _ = await with_waiting(broker, 4)
    await scan(broker, name, lambda retry: Action.DROP if ids([retry])[0] < 3 else Action.KEEP)
    await waiting(broker, name, 1)
    assert ids(await look(broker, name)) == [3]


async def test_what_comes_due_while_a_scan_holds_it_is_delivered(broker: Broker) -> None:
    name, queue = await with_waiting(broker, 20, delay_s=6.0)  # on a busy machine it takes some to have them wait
    async with aclosing(broker.retries.scan(name, lambda _: Action.KEEP)) as scanning:
        await anext(scanning)
        await asyncio.sleep(7.0)
    assert sorted(ids_received(await taken(queue, 20, WITHIN_S))) == list(range(20))


async def test_a_scan_that_stops_early_loses_nothing(broker: Broker) -> None:
    name, _ = await with_waiting(broker, 40)
    async with aclosing(broker.retries.scan(name, lambda _: Action.KEEP)) as scanning:
        await anext(scanning)
    await waiting(broker, name, 40)
    assert sorted(ids(await look(broker, name))) == list(range(40))


async def test_a_queue_that_is_not_there_is_said(broker: Broker) -> None:
    with pytest.raises(SettingsError, match="there is no queue 'q-none'"):
        await broker.retries.count("q-none")
    with pytest.raises(SettingsError, match="there is no queue 'q-none'"):
        await look(broker, "q-none")


async def test_what_waits_for_a_partition_is_seen(installation: Installation) -> None:
    """An ordered worker has nothing wait at the broker. A worker that was not ordered before may."""
    async with installation.opened() as broker:
        name, queue = await with_waiting(broker, 2)
        await queue.close()
        await broker.declare_partitions(name, ALL)
        partitions = [await broker.subscribe(name, ALL, 10, f"p{number:02}") for number in range(16)]
        assert sorted(ids(await look(broker, name))) == [0, 1]
        await scan(broker, name, lambda _: Action.REPLAY)
        takes = [asyncio.ensure_future(partition.take()) for partition in partitions]
        done, pending = await asyncio.wait(takes, return_when=asyncio.FIRST_COMPLETED, timeout=WITHIN_S)
        assert [each.result().attempt for each in done] == [3]
        for each in pending:
            each.cancel()
