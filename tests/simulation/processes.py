"""Worker processes in the simulation: the real wiring of `serve`, on the model store and the model broker."""

import asyncio
import contextvars
from collections.abc import Mapping
from functools import cache, partial
from typing import TYPE_CHECKING, Any, TypeAlias

from hookline import Backoff, Delivery, Poisoned, Retry, Worker, worker
from hookline.events import CanonicalEvent, ParticipantJoined, ParticipantLeft
from hookline.runtime.pools import Pools
from hookline.schemas.copies import copy_of
from hookline.schemas.errors import Unreachable
from hookline.schemas.observer import NOBODY
from hookline.settings_sections import WorkersSettings
from hookline.workers.ordered_pool import OrderedPool
from hookline.workers.pool import Pool
from tests.simulation import model_broker, model_store
from tests.simulation.model_broker import ModelBroker
from tests.simulation.model_postgresql import LOCK, WRITE, ModelPostgresqlStore
from tests.simulation.model_store import ModelStore
from tests.simulation.network import NetworkPath
from tests.simulation.schedules import Mode, PlannedEvent, Version
from tests.simulation.virtual_time import FATE, Fate
from tests.stopped_pools import stop

if TYPE_CHECKING:
    from tests.simulation.invariants import Checker
    from tests.simulation.world import World

QUEUE = "q"
ATTEMPTS = 3
TIMEOUT_S = 60.0
TRANSACTION_TIMEOUT_S = 10.0
SHUTDOWN_S = 20.0
MOST_STALE = 3

_process: contextvars.ContextVar["Process"] = contextvars.ContextVar("process")


async def _function(event: CanonicalEvent, delivery: Delivery) -> None:
    await _process.get().handle(event, delivery)


def timeout_s(mode: Mode) -> float:
    return TRANSACTION_TIMEOUT_S if mode == "transactional" else TIMEOUT_S


@cache
def _worker(mode: Mode, version: Version, reorder_s: float, *, latest_only: bool) -> Worker[Any]:
    retry = Backoff(first_s=0.2, factor=2, max_s=2, attempts=ATTEMPTS)
    declare = partial(
        worker,
        queue=QUEUE,
        concurrency=2,
        retry=retry,
        timeout_s=timeout_s(mode),
        ordered=mode == "ordered",
        latest_only=latest_only,
        transactional=mode == "transactional",
    )
    order = {"reorder_s": reorder_s} if mode == "ordered" else {}
    made: Worker[Any] = declare(*_EVENTS[version], **order)(_function)
    return made


_EVENTS: Mapping[Version, tuple[type[CanonicalEvent], ...]] = {
    "v1": (ParticipantJoined,),
    "v2": (ParticipantJoined, ParticipantLeft),
    "other": (ParticipantLeft,),
}
_Store: TypeAlias = ModelStore


class Unobserved:
    """Nobody looks at a simulated process. In place of `runtime.observing.Observing`."""

    observer = NOBODY

    def gauge(self, name: str, read: object) -> None:
        """Measure nothing."""

    def watch(self, part: object) -> None:
        """Watch nothing."""

    def traced(self, worker: Any) -> Any:
        return worker


class _Outcomes:
    """Tells the checker what an `OutcomeLog` would log."""

    has_error_texts = False

    def __init__(self, process: "Process", checker: "Checker") -> None:
        self.report = partial(checker.settled, process)


class Process:
    """One process, from its start to its end. Its successor is another one."""

    def __init__(self, world: "World", name: str, version: Version) -> None:
        self.name = name
        self.version = version
        self.fate = Fate()
        self.ended_s: float | None = None
        self.is_stopping = self.has_stopped = False
        self._world = world
        self.context = contextvars.copy_context()
        self.context.run(FATE.set, self.fate)
        self.context.run(_process.set, self)
        self.to_store = NetworkPath(world.store_host, model_store.TIMEOUT_S, MOST_STALE)
        self.to_broker = NetworkPath(world.broker_host, model_broker.TIMEOUT_S, in_order=True)
        self._tasks: list[asyncio.Task[Any]] = []
        self._pool: Pool | OrderedPool | None = None
        self._store: _Store | None = None
        self._broker: ModelBroker | None = None

    @property
    def is_alive(self) -> bool:
        return not self.fate.is_dead

    def start(self) -> None:
        self._create_task(self._run())

    def kill(self) -> None:
        """End without any cleanup. Its system closes its connections."""
        if self.fate.is_dead:
            return
        self.fate.is_dead = True
        self.ended_s = self._world.loop.time()
        self._world.process_ended(self)

    def stop(self) -> None:
        """As SIGTERM does."""
        if self.is_alive and not self.is_stopping:
            self.is_stopping = True
            self._create_task(self._stop())

    def lose_settlements(self, share: float) -> None:
        """From now on so many acknowledgements are lost."""
        if self._broker is not None:
            self._broker.lost = share

    async def handle(self, event: CanonicalEvent, delivery: Delivery) -> None:
        """The worker's function: it does what the schedule says."""
        checker, plan = self._world.checker, self._world.plans[event.id]
        call = checker.called(self, plan, delivery.attempt, copy_of(delivery.headers))
        try:
            if delivery.transaction is not None:
                await delivery.transaction.execute(LOCK, (self._world.subjects[event.id],))
                call.waits_for_others = False
            await asyncio.sleep(plan.takes_s)
            await self._act(plan, call.number)
            if delivery.transaction is not None:
                await delivery.transaction.execute(WRITE, (QUEUE, event.id))
        except asyncio.CancelledError:
            checker.cut_off(call)
            raise
        except Exception as error:  # a lock that was not granted is raised here
            checker.failed(call, error)
            raise
        checker.returned(call)

    async def _act(self, plan: PlannedEvent, number: int) -> None:
        if number > plan.times:
            return
        match plan.act:
            case "fail":
                raise ValueError(plan.id)
            case "poison":
                raise Poisoned(plan.id)
            case "retry":
                raise Retry(after_s=0.3)
            case "kill":
                self._world.die_of(self, plan)
                await asyncio.get_running_loop().create_future()  # nothing of a dead process goes on
            case "return":
                pass

    def _create_task(self, coroutine: Any) -> None:
        self._tasks.append(self._world.loop.create_task(coroutine, context=self.context))

    async def _run(self) -> None:
        try:
            pool = await self._open()
        except Unreachable:
            self._world.failed_to_start(self)
            return
        except Exception as error:  # noqa: BLE001  nothing else may happen
            self._world.loop.errors.append(f"{self.name} does not start: {error!r}")
            return
        await pool.run()

    async def _open(self) -> Pool | OrderedPool:
        world = self._world
        if world.schedule.mode == "transactional":
            self._store = ModelPostgresqlStore(world.sessions, self.to_store, self.name)
        else:
            self._store = ModelStore(world.store_server, self.to_store, self.name)
        self._broker = ModelBroker(world.broker_server, self.to_broker, self.name, self.context)
        await self._store.open()
        settings = WorkersSettings(breaker_percent=100)  # off: the faults are meant
        parts: Any = (
            self._broker,
            self._store,
            world.normalise,
            _Outcomes(self, world.checker),
            Unobserved(),
            settings,
        )
        pools = Pools(*parts)  # it needs the workers' side of a broker only
        schedule = world.schedule
        made = _worker(schedule.mode, self.version, schedule.reorder_s, latest_only=schedule.latest_only)
        self._pool = await pools.pool(made)
        return self._pool

    async def _stop(self) -> None:
        """The order of `serve`: the pool, then what the installation opened, the last first."""
        if self._pool is not None:
            await stop(self._pool, SHUTDOWN_S)
        if self._store is not None:
            await self._store.close()
        if self._broker is not None:
            await self._broker.close()
        self.has_stopped = True
        self.kill()
