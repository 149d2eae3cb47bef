"""One run: traffic and faults side by side, then the time until everything is handled, then the verdict."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.checker import Verdict, check
from tests.chaos.expectations import expected, handled
from tests.chaos.faults import Fault, Store, draw
from tests.chaos.history import Call, History
from tests.chaos.injection import Injector, Say
from tests.chaos.leftovers import leftovers
from tests.chaos.machine import Machine
from tests.chaos.records import Records, make_table, rows
from tests.chaos.servers import control
from tests.chaos.site import Site
from tests.chaos.traffic import Traffic, Volume

_LOOK_S = 1.0


@dataclass(frozen=True, slots=True)
class Plan:
    """`patience_s` is how long nothing at all may be handled after the last fault before the run is given up."""

    seed: int
    store: Store
    kinds: Sequence[str]
    volume: Volume
    patience_s: float = 60.0
    planted: str | None = None

    def schedule(self) -> list[Fault]:
        return draw(self.seed, self.volume.seconds, self.kinds)


@dataclass(frozen=True, slots=True)
class Result:
    history: History
    verdict: Verdict
    slowest_answer_s: float


async def run(plan: Plan, folder: Path, say: Say) -> Result:
    """Carry out a plan in an empty folder, in which logs and records stay."""
    async with Site(folder, plan.store, plan.kinds, plan.planted) as site:
        if plan.store == "postgresql":
            await asyncio.to_thread(make_table, site.store.url)
        return await _Run(plan, site, say).to_end()


class _Run:
    def __init__(self, plan: Plan, site: Site, say: Say) -> None:
        self._plan = plan
        self._site = site
        self._say = say
        self._records = Records(site.folder / "calls")
        self._traffic = Traffic(site.url, site.secret, plan.volume, plan.seed)
        self._injector = Injector(site, say)
        self._machine = Machine()
        self._began_at = time.monotonic()

    async def to_end(self) -> Result:
        self._say("everything is ready; the first event is sent now")
        self._began_at = time.monotonic()
        sending = asyncio.create_task(self._traffic.run())
        watching = asyncio.create_task(self._machine.watch())
        pooling = asyncio.create_task(self._injector.keep_pooler())
        try:
            await self._injector.run(self._plan.schedule())
            self._say("the last fault is over")
            await self._drain(sending)
        finally:
            for task in (sending, watching, pooling):
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
        ended_at = time.monotonic()
        await asyncio.to_thread(self._keep_queues)
        await asyncio.gather(*(process.stop() for process in self._site.processes.values()))
        history = await self._history(ended_at)
        return Result(history, check(history), self._traffic.slowest_answer_s)

    async def _drain(self, sending: asyncio.Task[None]) -> None:
        """Return once everything is sent and handled, or nothing has moved for too long."""
        least, moved_at = -1, time.monotonic()
        while True:
            await asyncio.sleep(_LOOK_S)
            missing = await asyncio.to_thread(self._missing)
            if sending.done() and not missing:
                return
            if missing != least or not sending.done():
                least, moved_at = missing, time.monotonic()
            if time.monotonic() - moved_at > self._plan.patience_s:
                self._say(f"{missing} events were not handled, and nothing moves")
                return

    def _missing(self) -> int:
        """How many events the workers together still have to handle."""
        calls = self._calls()
        missing = 0
        for worker in self._site.queues:
            wanted = expected(worker, self._traffic.sent, self._injector.left_bound)
            missing += len(wanted.keys() - handled(worker, calls).keys())
        return missing

    def _calls(self) -> list[Call]:
        """Of a transactional worker, only what it committed counts."""
        self._records.read()
        calls = list(self._records.calls.values())
        if self._plan.store != "postgresql":
            return calls
        return [*(call for call in calls if call.worker != "transactional"), *rows(self._site.store.url)]

    def _keep_queues(self) -> None:
        """Write down how RabbitMQ's queues are, in which the reason of a broken promise may show."""
        columns = ("name", "state", "messages_ready", "messages_unacknowledged", "consumers")
        (self._site.folder / "queues").write_text(control(self._site.rabbitmq, "list_queues", *columns))

    async def _history(self, ended_at: float) -> History:
        return History(
            began_at=self._began_at,
            ended_at=ended_at,
            workers=self._site.queues,
            sent=self._traffic.sent,
            calls=await asyncio.to_thread(self._calls),
            lives=[life for process in self._site.processes.values() for life in process.lives],
            disturbances=self._injector.disturbances,
            happened=self._injector.happened,
            left=await leftovers(self._site.rabbitmq, self._site.queues),
            left_bound=self._injector.left_bound,
            never_ready=self._injector.never_ready,
            slowdown=self._machine.slowdown,
        )
