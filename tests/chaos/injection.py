"""Carries out a schedule's faults, and keeps what is needed to judge the run: who was disturbed when, and how."""

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import cast

from tests.chaos.faults import ALL_WORKERS, RABBITMQ, STORE, Fault
from tests.chaos.history import Disturbance, Happened, Period
from tests.chaos.proxy import Cut
from tests.chaos.servers import RedisPair, control
from tests.chaos.site import Site

Say = Callable[[str], None]
_LOOK_S = 1.0


class Injector:
    """`happened` has every fault that is over, with its times."""

    def __init__(self, site: Site, say: Say) -> None:
        self.happened: list[Happened] = []
        self.disturbances: list[Disturbance] = []
        self.left_bound: list[Period] = []
        self.never_ready: list[str] = []
        self._site = site
        self._say = say
        self._locks = defaultdict[str, asyncio.Lock](asyncio.Lock)
        self._version = "v1"
        self._pooled = False

    async def run(self, schedule: Sequence[Fault]) -> None:
        """Return once all faults are over and everything runs again."""
        began_at = time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            for fault in schedule:
                await asyncio.sleep(max(0.0, began_at + fault.at_s - time.monotonic()))
                tasks.create_task(self._inject(fault, began_at))

    async def keep_pooler(self) -> None:
        """Start PgBouncer again whenever it ends by itself, and count that as a fault. Never returns."""
        while True:
            looked_at = time.monotonic()
            await asyncio.sleep(_LOOK_S)
            if self._site.pgbouncer is not None and await asyncio.to_thread(self._site.pgbouncer.start_again):
                self._say("PgBouncer had ended by itself, and was started again")
                ended = Fault(0.0, "pgbouncer-ended", STORE, 0.0)
                self.happened.append(Happened(ended, Period(looked_at, time.monotonic())))

    async def _inject(self, fault: Fault, run_began_at: float) -> None:
        async with AsyncExitStack() as stack:
            for resource in sorted(fault.resources):
                await stack.enter_async_context(self._locks[resource])
            began_at = time.monotonic()
            self._say(f"{began_at - run_began_at:6.1f} s  begins: {fault}")
            await self._carry_out(fault)
            ended_at = time.monotonic()
            self._say(f"{ended_at - run_began_at:6.1f} s  ends:   {fault}")
            self.happened.append(Happened(fault, Period(began_at, ended_at)))

    async def _carry_out(self, fault: Fault) -> None:
        kind = fault.kind.removesuffix("-short").removesuffix("-long")
        if fault.target == ALL_WORKERS:
            await self._deploy()
        elif kind in ("kill", "kill-ingress", "stop"):
            await self._restart(fault, killed=kind != "stop")
        elif kind == "freeze":
            await self._freeze_process(fault)
        elif kind.startswith("cut-"):
            await self._cut(fault, (RABBITMQ, STORE) if kind == "cut-both" else (kind.removeprefix("cut-"),))
        elif fault.target == RABBITMQ:
            await self._disturb_rabbitmq(kind, fault.lasts_s)
        else:
            await self._disturb_store(kind, fault.lasts_s)

    async def _restart(self, fault: Fault, *, killed: bool) -> None:
        process = self._site.processes[fault.target]
        await (process.kill() if killed else process.stop())
        await asyncio.sleep(fault.lasts_s)
        await process.start()

    async def _freeze_process(self, fault: Fault) -> None:
        process = self._site.processes[fault.target]
        async with self._noting(fault.target, "frozen"):
            process.freeze()
            await asyncio.sleep(fault.lasts_s)
            process.thaw()

    async def _cut(self, fault: Fault, servers: Sequence[str]) -> None:
        what = "cut off" if STORE in servers else "cut off from RabbitMQ"
        proxies = [self._site.proxies[fault.target, server] for server in servers]
        async with self._noting(fault.target, what):
            await asyncio.gather(*(proxy.cut(cast("Cut", fault.way), fault.lasts_s) for proxy in proxies))

    @asynccontextmanager
    async def _noting(self, name: str, what: str) -> AsyncIterator[None]:
        pid, began_at = self._site.processes[name].life.pid, time.monotonic()
        yield
        self.disturbances.append(Disturbance(pid, what, Period(began_at, time.monotonic())))

    async def _disturb_rabbitmq(self, kind: str, lasts_s: float) -> None:
        node = self._site.rabbitmq
        match kind:
            case "rabbitmq-stop-app":
                await asyncio.to_thread(control, node, "stop_app")
                await asyncio.sleep(lasts_s)
                await asyncio.to_thread(control, node, "start_app")
            case "rabbitmq-kill":
                await asyncio.to_thread(node.kill)
                await asyncio.sleep(lasts_s)
                await asyncio.to_thread(node.start)
                await asyncio.to_thread(control, node, "await_startup")
            case "rabbitmq-freeze":
                await asyncio.to_thread(node.freeze)
                await asyncio.sleep(lasts_s)
                node.thaw()
            case _:
                await asyncio.to_thread(control, node, "close_all_connections", "chaos")

    async def _disturb_store(self, kind: str, lasts_s: float) -> None:
        store = self._site.store
        match kind:
            case "store-kill":
                await asyncio.to_thread(store.kill)
                await asyncio.sleep(lasts_s)
                await asyncio.to_thread(store.start)
            case "store-freeze":
                await asyncio.to_thread(store.freeze)
                await asyncio.sleep(lasts_s)
                store.thaw()
            case "pgbouncer":
                self._pooled = not self._pooled
                pooler = self._site.pgbouncer
                self._lead_store_to(pooler.port if pooler and self._pooled else store.port, dropping=True)
            case _:
                await asyncio.to_thread(cast("RedisPair", store).fail_over)
                self._lead_store_to(store.port, dropping=False)

    def _lead_store_to(self, port: int, *, dropping: bool) -> None:
        """New connections go to that port. Those that are open stay where they are, or are dropped."""
        for (_, server), proxy in self._site.proxies.items():
            if server == STORE:
                proxy.target_port = port
                if dropping:
                    proxy.drop()

    async def _deploy(self) -> None:
        """Replace one process after the other by one with the other version."""
        forward = self._version == "v1"
        self._version = "v2" if forward else "v1"
        if not forward:
            self.left_bound[-1] = Period(self.left_bound[-1].began_at, time.monotonic())
        for process in self._site.workers:
            await process.stop()
            self._site.set_version(process, self._version)
            await process.start()
            if not await process.ready():
                self.never_ready.append(process.name)
            if forward and process is self._site.workers[0]:
                self.left_bound.append(Period(time.monotonic(), float("inf")))
