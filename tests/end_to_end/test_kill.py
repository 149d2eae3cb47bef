"""A process of an ordered worker is killed and started again: its events do not slow the others down."""

import asyncio
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.contract.installations import opened
from tests.end_to_end.processes import Process, Project, eventually
from tests.end_to_end.test_order import joined

ROOMS = 200
EVENTS = 8
CONCURRENCY = 16
WINDOW_S = 5.0
PROMISED_S = 15.0
PATIENCE_S = 40.0  # with so much else to do on the machine

SLOW = '''
"""Takes a second for each event, and writes a line when its call begins and one when it ends."""

import asyncio
import json
import os
import time

from hookline.events import ParticipantJoined
from hookline import Delivery, worker


@worker(ParticipantJoined, queue="slow", ordered=True)
async def slow(event: ParticipantJoined, delivery: Delivery) -> None:
    number = json.loads(delivery.body)["payload"]["ts"]
    write("begun", f"{event.room_id} {number} {delivery.attempt}")
    await asyncio.sleep(1)
    write("ended", f"{event.room_id} {number} {time.monotonic()}")


def write(name: str, line: str) -> None:
    file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(file, f"{line}\\n".encode())
    os.close(file)
'''


class Log:
    """What the processes wrote."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def words(self, name: str) -> list[list[str]]:
        path = self._folder / name
        return [line.split() for line in path.read_text().splitlines()] if path.exists() else []

    def ended_per_s(self) -> float:
        """How many calls have ended a second, within the last seconds."""
        now_s = time.monotonic()
        return sum(float(at) >= now_s - WINDOW_S for *_, at in self.words("ended")) / WINDOW_S


async def start(project: Project) -> Process:
    return await asyncio.to_thread(project.start, "worker", "slow.py")


@pytest.mark.parametrize("project", ["rabbitmq"], indirect=True)
async def test_the_throughput_is_back_soon_after_a_kill(project: Project) -> None:
    (project.folder / "slow.py").write_text(SLOW)
    log = Log(project.folder)
    killed, _ = await start(project), await start(project)
    async with opened(project.settings.broker.urls[0]) as broker:
        for number in range(EVENTS):
            await asyncio.gather(*(broker.publisher.publish(joined(room, number)) for room in range(ROOMS)))
    await eventually(lambda: log.ended_per_s() > 1.5 * CONCURRENCY)  # both are at work
    before = log.ended_per_s()
    killed.kill()
    killed_s = time.monotonic()
    await start(project)
    slowest = before

    def is_as_before() -> bool:
        nonlocal slowest
        slowest = min(slowest, log.ended_per_s())
        return time.monotonic() - killed_s >= PROMISED_S + WINDOW_S and log.ended_per_s() >= 0.8 * before

    await eventually(is_as_before, PATIENCE_S)
    after, after_s = log.ended_per_s(), time.monotonic() - killed_s - WINDOW_S
    print(f"{before:.0f} calls/s before, at least {slowest:.0f}, {after:.0f} from {after_s:.0f} s after the kill")  # noqa: T201
    begun, ended = log.words("begun"), log.words("ended")
    assert {attempt for *_, attempt in begun} == {"1"}
    order = [(room, int(number)) for room, number, _ in begun]
    for room in {room for room, _ in order}:
        numbers = [number for each, number in order if each == room]
        assert numbers == sorted(numbers), room
    repeated = {each for each, calls in Counter(order).items() if calls > 1}
    not_noted = {(room, int(number)) for room, number, at in ended if float(at) <= killed_s} & repeated
    assert len(repeated - not_noted) <= CONCURRENCY  # only what was being handled begins again
    assert len(not_noted) <= CONCURRENCY
    assert len(order) == len(set(order)) + len(repeated)
