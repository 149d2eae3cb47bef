"""One schedule: rooms that publish through a spool, faults of broker, disk and process, and what became of each event.

Everything is the real code but the broker, the disk and the threads. A seed gives the same run each time.
"""

import asyncio
import errno
import logging
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

from hookline.broker.spool.journal import Journal
from hookline.broker.spool.publisher import SpoolingPublisher
from hookline.broker.spool.spool import Spool, SpoolLimits
from hookline.schemas.errors import NotDurable
from tests.contract.installations import envelope
from tests.simulation.ingress_broker import MODES, ModelBroker
from tests.simulation.ingress_loop import IngressLoop, virtual_time
from tests.spool.crashing_files import SURVIVALS, CrashingFiles

T = TypeVar("T")

FOLDER = Path("/spool")
AFTER_S = 1.0
ANSWERED_S = 1.45
HEALED_S = 15.0
_ROOMS = 3
_EVENTS = 8


class VirtualLane:
    """Implements Lane: each call takes a while, or hangs as long as the disk does."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._loop = asyncio.get_running_loop()
        self._free_s = 0.0
        self.is_dead = False

    def run(self, call: Callable[[], T]) -> "asyncio.Future[T]":
        future: asyncio.Future[T] = self._loop.create_future()
        starts_s = max(self._loop.time(), self._free_s, self._world.hangs_until_s)
        self._free_s = starts_s + self._world.chance.uniform(0.0005, 0.01)
        self._loop.call_at(self._free_s, self._end, call, future)
        return future

    def close(self) -> None:
        """Nothing runs on."""

    def _end(self, call: Callable[[], T], future: "asyncio.Future[T]") -> None:
        if self.is_dead:
            return
        if self._loop.time() < self._world.hangs_until_s:  # it began to hang meanwhile
            self._loop.call_at(self._world.hangs_until_s, self._end, call, future)
            return
        try:
            result = call()
        except OSError as error:
            if not future.done():
                future.set_exception(error)
            return
        if not future.done():
            future.set_result(result)


@dataclass
class World:
    """What outlives a process, and what was seen."""

    chance: random.Random
    disk: CrashingFiles = field(default_factory=CrashingFiles)
    hangs_until_s: float = 0.0
    sent: dict[str, list[str]] = field(default_factory=dict)
    accepted: set[str] = field(default_factory=set)
    longest_s: float = 0.0


class Process:
    """An ingress: a publisher with its spool."""

    def __init__(self, world: World, broker: ModelBroker) -> None:
        self.lanes = VirtualLane(world), VirtualLane(world)
        clock = asyncio.get_running_loop().time
        self.spool = Spool(Journal(FOLDER, world.disk, 900), SpoolLimits(), *self.lanes, clock)
        self.publisher = SpoolingPublisher(broker, self.spool, after_s=AFTER_S, max_draining=6)


class Schedule:
    """Runs in one event loop."""

    def __init__(self, seed: int) -> None:
        self.world = World(random.Random(seed))  # noqa: S311  # no secret
        self.chance = self.world.chance
        self.refuses = self.chance.random() < 0.4
        self.faults: list[str] = []
        self._loop = asyncio.get_running_loop()
        self.broker = ModelBroker(self.chance)
        self._numbers = iter(range(1, 10_000))
        self._serving = asyncio.Event()
        self.process: Process | None = None

    async def run(self) -> None:
        await self._start()
        rooms = [asyncio.create_task(self._room(f"room-{number}")) for number in range(_ROOMS)]
        for _ in range(self.chance.randint(1, 3)):
            await asyncio.sleep(self.chance.uniform(0, 0.6))
            await self._fault()
        await asyncio.gather(*rooms)
        await self._heal()

    async def _start(self) -> None:
        self.process = Process(self.world, self.broker)
        await self.process.publisher.open()
        self._serving.set()

    async def _room(self, room: str) -> None:
        """Publish event after event; where nothing is refused, some rooms do not wait for the answers."""
        waits = self.refuses or self.chance.random() < 0.5
        asked = []
        for _ in range(_EVENTS):
            asking = asyncio.create_task(self._ask(room))
            asked.append(asking)
            if waits:
                await asking
            await asyncio.sleep(self.chance.choice((0, 0.001, 0.05, 0.3)))
        await asyncio.gather(*asked)

    async def _ask(self, room: str) -> None:
        await self._serving.wait()
        process, event = self.process, envelope(number=next(self._numbers), subject=room)
        assert process is not None
        self.world.sent.setdefault(room, []).append(event.id)
        began_s = self._loop.time()
        try:
            publisher = process.publisher
            await (publisher.begin(event) if self.chance.random() < 0.5 else publisher.publish(event))
        except NotDurable:
            accepted = False
        else:
            accepted = not process.lanes[0].is_dead
        if not process.lanes[0].is_dead:
            self.world.longest_s = max(self.world.longest_s, self._loop.time() - began_s)
        if accepted:
            self.world.accepted.add(event.id)

    async def _fault(self) -> None:
        lasts_s = self.chance.choice((0.1, 0.8, 1.5, 4.0))
        kind = self.chance.choice(("broker", "broker", "broker", "disk", "hang", "kill", "power", "restart"))
        self.faults.append(f"{self._loop.time() - 1000:.3f} {kind} for {lasts_s} s")
        match kind:
            case "broker":
                mode = self.chance.choice((*MODES, "refusing", "refusing") if self.refuses else MODES)
                self.faults[-1] += f" {mode}"
                self.broker.turn(mode)
                await asyncio.sleep(lasts_s)
                self.broker.turn("ok")
            case "disk":
                first, disk = len(self.world.disk.operations) + 1, self.world.disk
                number = self.chance.choice((errno.EIO, errno.ENOSPC, errno.EROFS))
                disk.fail_at = {
                    at: OSError(number, "injected") for at in range(first, first + self.chance.randint(1, 9))
                }
            case "hang":
                self.world.hangs_until_s = self._loop.time() + lasts_s
            case "kill" | "power":
                await self._kill(power=kind == "power")
            case _:
                self._serving.clear()
                assert self.process is not None
                await self.process.publisher.close()
                await self._end()
                await self._start()

    async def _kill(self, *, power: bool) -> None:
        """The process dies, and another starts. The disk works again by then."""
        self._serving.clear()
        await self._end()
        self.world.disk = self.world.disk.after_power_cut(self.chance.choice(SURVIVALS) if power else "everything")
        self.world.hangs_until_s = 0.0
        await self._start()

    async def _end(self) -> None:
        """A process has ended: its threads and locks with it."""
        assert self.process is not None
        for lane in self.process.lanes:
            lane.is_dead = True
        self.world.disk.locked.clear()
        self.broker.forget()

    async def _heal(self) -> None:
        """Everything works again; what is in the spool is published in time."""
        self.world.disk.fail_at = {}
        self.world.hangs_until_s = 0.0
        self.broker.turn("ok")
        assert self.process is not None
        spool, until_s = self.process.spool, self._loop.time() + HEALED_S
        await asyncio.sleep(1.5)
        while spool.held and self._loop.time() < until_s:  # noqa: ASYNC110  time is virtual
            await asyncio.sleep(0.25)
        assert not spool.held, f"not published {HEALED_S} s after the last fault: {spool.status}"
        await asyncio.sleep(0.05)
        before = spool.counts.spooled
        for _ in range(2):
            await self.process.publisher.publish(envelope(number=next(self._numbers), subject="room-0"))
        assert spool.counts.spooled == before, "the broker works, and events go to the spool"
        assert self.process.publisher.ready


def problems(schedule: Schedule) -> Iterator[str]:
    """What is wrong with the end of a schedule."""
    world = schedule.world
    first = {event_id: place for place, event_id in reversed(list(enumerate(schedule.broker.arrived)))}
    if lost := world.accepted - first.keys():
        yield f"accepted and lost: {sorted(lost)}"
    for room, sent in world.sent.items():
        accepted = [event_id for event_id in sent if event_id in world.accepted and event_id in first]
        if accepted != sorted(accepted, key=partial(first.__getitem__)):
            yield f"{room} is out of order: {accepted} arrived as {sorted(accepted, key=partial(first.__getitem__))}"
    if world.longest_s > ANSWERED_S:
        yield f"an answer took {world.longest_s:.3f} s"


def run(seed: int) -> None:
    """Run one schedule. Raises AssertionError with the seed and the faults."""
    loop = IngressLoop()  # type: ignore[abstract]  # it has what the spool uses
    level, spool_log = logging.CRITICAL, logging.getLogger("hookline.spool")
    before, spool_log.level = spool_log.level, level
    found: list[str] = []
    with virtual_time(loop, seed):
        asyncio._set_running_loop(loop)  # noqa: SLF001  futures are made before it runs
        schedule = Schedule(seed)
        task = loop.create_task(schedule.run())
        try:
            loop.run_until(task.done)
            found = [*problems(schedule), *loop.errors]
            if not task.done():
                found.append("the schedule stands still")
            elif (error := task.exception()) is not None:
                found.append(f"{type(error).__name__}: {error}")
        finally:
            loop.close()
            spool_log.setLevel(before)
    assert not found, f"seed {seed}: {'; '.join(found)}; faults: {schedule.faults}"
