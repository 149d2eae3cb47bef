"""RabbitMQ takes messages back from a consumer that holds them too long. No partition stands still afterwards.

Up to 4.2 the server closes the channel; from 4.3 the queue cancels the consumer. A single active consumer must follow
the one that timed out, also after every consumer has timed out.
"""

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path

import pytest

from hookline.schemas import topics
from hookline.schemas.broker import Done, Queue, Received
from hookline.schemas.envelope import Envelope
from tests.contract.installations import RabbitMQInstallation, envelope, opened, queue_name
from tests.contract.installations import eventually as within
from tests.end_to_end.processes import Process, Project, eventually
from tests.end_to_end.test_order import joined
from tests.services import rabbitmq, servers

TIMEOUT_MS = 3000
CHECKED_MS = 1000
ROUNDS = 2
FORGOTTEN_S = 10.0
LATER = 3
WITHIN_S = 60.0
_NODE: pytest.StashKey[rabbitmq.Node] = pytest.StashKey()

SLOW = '''
"""The first event of each room takes until a file is there. One file for each room, one line when an event ends."""

import asyncio
import json
from pathlib import Path

from hookline.events import ParticipantJoined
from hookline import Delivery, worker


@worker(ParticipantJoined, queue="slow", ordered=True, concurrency=32)
async def slow(event: ParticipantJoined, delivery: Delivery) -> None:
    number = json.loads(delivery.body)["payload"]["ts"]
    while number == 0 and not Path("released").exists():
        await asyncio.sleep(0.05)
    with Path("rooms", event.room_id).open("a") as file:
        file.write(f"{number}\\n")
'''


@pytest.fixture
async def node(request: pytest.FixtureRequest) -> rabbitmq.Node:
    """A node that takes messages back after a few seconds."""
    settings = {
        "consumer_timeout": TIMEOUT_MS,
        "channel_tick_interval": CHECKED_MS,  # up to 4.2, how often channels look
        "quorum_tick_interval": CHECKED_MS,  # from 4.3, how often queues look
    }
    node = servers.own_server(
        request.config, _NODE, rabbitmq.VARIABLE, lambda: rabbitmq.Node(rabbitmq.programs(), settings)
    )
    await RabbitMQInstallation(node.url).clear()
    return node


async def test_ordered_processes_go_on_after_time_outs_in_every_partition(node: rabbitmq.Node, tmp_path: Path) -> None:
    project = Project(tmp_path, node.url)
    (tmp_path / "slow.py").write_text(SLOW)
    (tmp_path / "rooms").mkdir()
    try:
        processes = [await asyncio.to_thread(project.start, "worker", "slow.py") for _ in range(2)]
        async with opened(node.url) as broker:
            rooms = one_room_of_each_partition()
            await asyncio.gather(*(broker.publisher.publish(joined(room, 0)) for room in rooms))
            await eventually(lambda: all(losses(processes, word) for word in topics.PARTITION_WORDS), WITHIN_S)
            assert all("consumer_timeout" in line for line in project.log_lines("the consumer was lost"))
            (tmp_path / "released").touch()
            for number in range(1, 1 + LATER):
                await asyncio.gather(*(broker.publisher.publish(joined(room, number)) for room in rooms))
            await eventually(lambda: all(len(ended(tmp_path, room)) > LATER for room in rooms), WITHIN_S)
        assert {room: ended(tmp_path, room) for room in rooms} == {room: list(range(1 + LATER)) for room in rooms}
    finally:
        project.close()


async def test_a_partition_goes_on_after_every_consumer_of_it_timed_out(node: rabbitmq.Node) -> None:
    """The second consumer waits while the first is active, and times out in its turn."""
    name, room = queue_name(), "room-1"
    partition = topics.partition(room)
    async with opened(node.url) as first, opened(node.url) as second, asyncio.timeout(WITHIN_S):
        await first.declare_partitions(name, ("#",))
        queues = [await broker.subscribe(name, ("#",), 10, partition) for broker in (first, second)]
        arrived: asyncio.Queue[tuple[Queue, Received]] = asyncio.Queue()
        takers = [asyncio.create_task(take_all(queue, arrived)) for queue in queues]
        await first.publisher.publish(envelope(subject=room))
        queue, received = await arrived.get()
        await lost(queue, received)
        for _ in range(ROUNDS):
            queue, received = await arrived.get()
            with suppress(TimeoutError):  # 4.3.6 sometimes forgets to look at a consumer that has become the active one
                await lost(queue, received, FORGOTTEN_S)
            if queue.holds(received):
                break
        else:
            queue, received = await arrived.get()
        await queue.settle(received, Done())
        for _ in range(LATER):
            event = envelope(subject=room)
            await first.publisher.publish(event)
            queue = await settled(arrived, event)
        await queue.close()
        event = envelope(subject=room)
        await first.publisher.publish(event)
        assert await settled(arrived, event) is not queue
        for taker in takers:
            taker.cancel()


async def test_every_partition_comes_back_where_all_time_out_while_the_loop_is_blocked(node: rabbitmq.Node) -> None:
    """The server closes all channels before the client reads anything, so it has to answer all of them at once."""
    names, rooms = [queue_name() for _ in range(3)], one_room_of_each_partition()
    async with opened(node.url) as broker, asyncio.timeout(WITHIN_S):
        for name in names:
            await broker.declare_partitions(name, ("#",))
        pairs = [(name, word) for name in names for word in topics.PARTITION_WORDS]
        queues = [await broker.subscribe(name, ("#",), 10, word) for name, word in pairs]
        await asyncio.gather(*(broker.publisher.publish(envelope(subject=f"room-{room}")) for room in rooms))
        received = await asyncio.gather(*(queue.take() for queue in queues))
        time.sleep((TIMEOUT_MS + 2 * CHECKED_MS) / 1000)  # noqa: ASYNC251  # what a function that blocks does
        for _ in range(ROUNDS):
            await asyncio.gather(*(lost(queue, message) for queue, message in zip(queues, received, strict=True)))
            received = await asyncio.gather(*(queue.take() for queue in queues))
        for queue, message in zip(queues, received, strict=True):
            await queue.settle(message, Done())


async def take_all(queue: Queue, arrived: asyncio.Queue[tuple[Queue, Received]]) -> None:
    while True:
        arrived.put_nowait((queue, await queue.take()))


async def settled(arrived: asyncio.Queue[tuple[Queue, Received]], event: Envelope) -> Queue:
    """Settle what arrives until this event has; the queue to which it came. What was taken back may come twice."""
    while True:
        queue, received = await arrived.get()
        await queue.settle(received, Done())
        if received.headers["cloudEvents_id"] == event.id:
            return queue


async def lost(queue: Queue, received: Received, within_s: float = WITHIN_S) -> None:
    """Until the server has taken the message back."""

    async def is_lost() -> bool:
        return not queue.holds(received)

    await within(is_lost, within_s)


def one_room_of_each_partition() -> list[int]:
    rooms: dict[str, int] = {}
    numbers = count()
    while len(rooms) < topics.PARTITIONS:
        number = next(numbers)
        rooms.setdefault(topics.partition(f"room-{number}"), number)
    return list(rooms.values())


def losses(processes: Sequence[Process], partition: str) -> int:
    """How often a process lost its consumer of a partition."""
    text = f"{topics.partition_name('slow', partition)}: the consumer was lost"
    return sum(text in line for process in processes for line in process.output)


def ended(folder: Path, room: int) -> list[int]:
    path = folder / "rooms" / f"room-{room}"
    return list(map(int, path.read_text().split())) if path.exists() else []
