"""Processes of an ordered worker are killed and others join: the events of each room are handled in order."""

import asyncio
import json
from collections.abc import Callable
from itertools import count, pairwise
from pathlib import Path

from hookline.schemas.broker import Broker
from hookline.schemas.envelope import Envelope, moment, seal
from hookline.schemas.provider import Request
from hookline.schemas.providers import catalogue
from hookline.workers.prefetch import PREFETCH_FACTOR
from tests.contract.installations import opened
from tests.end_to_end.processes import Process, Project, eventually

ROOMS = 100
EVENTS = 3000
BATCH = 100

ORDERED = '''
"""Writes to one file for each room: a line when a call begins, and a line when it ends."""

import asyncio
import json
import os

from hookline.events import ParticipantJoined
from hookline import Delivery, worker


@worker(ParticipantJoined, queue="ordered", ordered=True)
async def ordered(event: ParticipantJoined, delivery: Delivery) -> None:
    number = json.loads(delivery.body)["payload"]["ts"]
    write(event.room_id, f"begin {number} {os.getpid()}")
    await asyncio.sleep(0.005)
    write(event.room_id, f"end {number} {os.getpid()}")


def write(room: str, line: str) -> None:
    file = os.open(f"rooms/{room}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(file, f"{line}\\n".encode())
    os.close(file)
'''


def joined(room: int, number: int) -> Envelope:
    payload = {"channelName": f"room-{room}", "uid": "u", "ts": number}
    body = json.dumps({"noticeId": f"{room}-{number}", "productId": 1, "eventType": 103, "payload": payload}).encode()
    identity = catalogue()["krtc"].identify(Request(body))
    kind = "application/json"
    return seal(
        identity, body, provider="krtc", source="krtc-main", content_type=kind, received_at=moment(1_790_000_000)
    )


class Traffic:
    """Publishes the events of all rooms in turn, as fast as they are handled. Each room numbers its events."""

    def __init__(self, broker: Broker, folder: Path) -> None:
        self._broker = broker
        self._folder = folder
        self._numbers = count()
        self.sent = 0

    async def run(self, until: Callable[[], bool]) -> None:
        async with asyncio.timeout(60):
            while not until():
                numbers = [next(self._numbers) for _ in range(BATCH)]
                events = (joined(number % ROOMS, number // ROOMS) for number in numbers)
                await asyncio.gather(*(self._broker.publisher.publish(event) for event in events))
                self.sent += BATCH
                await eventually(lambda: self.sent - self.ended() < 5 * BATCH)

    def ended(self) -> int:
        return sum(len({line for line in lines if line[0] == "end"}) for lines in self.rooms().values())

    def rooms(self) -> dict[str, list[tuple[str, int]]]:
        rooms = {}
        for path in self._folder.iterdir():
            words = [line.split() for line in path.read_text().splitlines()]
            rooms[path.name] = [(what, int(number)) for what, number, _ in words]
        return rooms

    def has_handled(self, process: Process) -> bool:
        return any(f" {process.popen.pid}\n" in path.read_text() for path in self._folder.iterdir())


async def test_order_holds_while_processes_are_killed_and_join(project: Project) -> None:
    folder = project.folder / "rooms"
    folder.mkdir()
    (project.folder / "ordered.py").write_text(ORDERED)
    processes = [await start(project) for _ in range(3)]
    url = project.settings.broker.urls[0]
    address = f"sqlite:{project.folder / 'hookline.db'}" if url.startswith("sqlite:") else url
    async with opened(address) as broker:
        traffic = Traffic(broker, folder)
        await traffic.run(lambda: all(traffic.has_handled(process) for process in processes))
        processes.append(await start(project))
        await traffic.run(lambda: traffic.has_handled(processes[3]))
        processes[0].kill()
        await traffic.run(lambda: traffic.sent >= EVENTS // 2)
        processes.append(await start(project))
        await traffic.run(lambda: traffic.has_handled(processes[4]))
        await asyncio.to_thread(processes[1].stop)
        await traffic.run(lambda: traffic.sent >= EVENTS)
        await eventually(lambda: traffic.ended() == traffic.sent)
    repeated = 0
    for room, lines in traffic.rooms().items():
        order = [number for what, number in lines if what == "begin"]
        assert order == sorted(order), room
        assert sorted(set(order)) == list(range(traffic.sent // ROOMS)), room
        assert all(numbers_in_a_row(lines)), room
        repeated += len(order) - len(set(order))
    assert repeated <= PREFETCH_FACTOR * 16  # what one process had in flight when it was killed


def numbers_in_a_row(lines: list[tuple[str, int]]) -> list[bool]:
    """For each call that began: whether it ended or began again before anything else happened in its room."""
    return [after[1] == before[1] for before, after in pairwise(lines) if before[0] == "begin"]


async def start(project: Project) -> Process:
    return await asyncio.to_thread(project.start, "worker", "ordered.py")
