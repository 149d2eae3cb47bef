"""What can be seen of queues from outside, on both brokers."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from hookline.broker.embedded.queue_states import EmbeddedQueueStates
from hookline.schemas.broker import Again, Broker, Done, Parked
from hookline.schemas.errors import Unreachable
from hookline.schemas.queue_states import QueueState
from hookline.schemas.topics import PARTITION_WORDS
from tests.contract.installations import envelope, queue_name, taken

PATTERN = ("*.*.room.#",)


async def settled(broker: Broker, queue: str, **wanted: float) -> QueueState:
    """The state, once it is as expected where the broker shows it: it counts with a little delay."""
    shown: dict[str, float | None] = {}
    for _ in range(300):
        (state,) = await broker.queue_states.states([queue], retrying="retrying" in wanted)
        shown = msgspec.structs.asdict(state)
        if all(shown[name] in (count, None) for name, count in wanted.items()):
            return state
        await asyncio.sleep(0.05)
    pytest.fail(f"{shown} is not {wanted}")


async def test_each_message_of_a_queue_is_counted_where_it_is(broker: Broker) -> None:
    name = queue_name()
    queue = await broker.subscribe(name, PATTERN, 3)
    for _ in range(5):
        await broker.publisher.publish(envelope())
    first, second, third = await taken(queue, 3)
    await settled(broker, name, waiting=2, in_flight=3, retrying=0, dead=0, consumers=1)
    await queue.settle(first, Parked("failed", "", 1))
    await queue.settle(second, Again(600, 2, "failed"))
    await queue.settle(third, Done())
    await settled(broker, name, waiting=0, in_flight=2, retrying=1, dead=1, consumers=1)


async def test_the_partitions_of_an_ordered_worker_are_added_up(broker: Broker) -> None:
    name = queue_name()
    await broker.declare_partitions(name, PATTERN)
    for number in range(5):
        await broker.publisher.publish(envelope(subject=f"room-{number}"))
    await settled(broker, name, waiting=5, consumers=0)
    await broker.subscribe(name, PATTERN, 10, PARTITION_WORDS[0])
    await settled(broker, name, consumers=1)


async def test_all_queues_are_named(broker: Broker) -> None:
    names = sorted(queue_name() for _ in range(3))
    for name in names:
        await broker.subscribe(name, PATTERN, 1)
    assert [name for name in await broker.queue_states.names() if name in names] == names


async def test_a_queue_that_does_not_exist_has_no_state_on_rabbitmq_or_an_empty_one(broker: Broker) -> None:
    states = await broker.queue_states.states([queue_name()])
    assert all(not state.waiting and not state.dead for state in states)


async def test_what_no_queue_wants_is_counted(broker: Broker) -> None:
    before = await broker.queue_states.unrouted()
    await broker.publisher.publish(envelope("call.started"))
    for _ in range(300):
        if await broker.queue_states.unrouted() == before + 1:
            return
        await asyncio.sleep(0.05)
    pytest.fail("it was not counted")


async def test_the_embedded_queue_knows_how_old_the_oldest_waiting_message_is(broker: Broker) -> None:
    name = queue_name()
    queue = await broker.subscribe(name, PATTERN, 1)
    received_at = datetime.now(UTC) - timedelta(hours=1)
    for age_minutes in (0, 30, 60):
        await broker.publisher.publish(envelope(received_at=received_at + timedelta(minutes=age_minutes)))
    await taken(queue)
    state = await settled(broker, name, waiting=2)
    if state.oldest_s is not None:
        assert 1800 <= state.oldest_s < 1800 + 600


async def test_a_file_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match=r"none\.db cannot be opened: there is no such file"):
        await EmbeddedQueueStates(tmp_path / "none.db").names()
    assert not (tmp_path / "none.db").exists()
