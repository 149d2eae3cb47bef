"""One run of a schedule: servers, processes, callbacks, faults, and the watch over what happens."""

import contextvars
import logging
import random
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from hookline.events import CanonicalEvent, ParticipantJoined, ParticipantLeft
from hookline.schemas import topics
from hookline.schemas.envelope import Envelope
from hookline.schemas.leases import LEASE_S
from tests.events import START, make
from tests.simulation.broker_server import BrokerServer
from tests.simulation.faults import Injector
from tests.simulation.invariants import Broken, Checker
from tests.simulation.model_postgresql import Sessions
from tests.simulation.network import Host
from tests.simulation.processes import ATTEMPTS, Process
from tests.simulation.schedules import Callback, FaultKind, PlannedEvent, Schedule, Version
from tests.simulation.store_server import ModelServer
from tests.simulation.virtual_time import FATE, START_S, Endless, Fate, VirtualLoop, virtual_clock

PARTITIONS = 4
"""Fewer than in production: each costs time in every second, and four have the same faults as sixteen."""
LOOK_EVERY_S = 1.0
CALM_S = LEASE_S + 15.0
"""After the last fault, everything is consumed within a lease, the longest wait of a retry, and the time of calls."""
RESTART_S = 1.0
REORDER_MARGIN_S = 0.1
"""How much later than another event may arrive, on an undisturbed way."""
TAKES_TURNS_S = 20.0
"""Two applications with one queue name take turns in its partitions. A plain queue may hand both the wrong events."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a schedule. `rule` is None if every promise was kept."""

    schedule: Schedule
    rule: str | None
    detail: str
    trace: tuple[str, ...]
    virtual_s: float


class World:
    def __init__(self, schedule: Schedule, *, traced: bool) -> None:
        self.schedule = schedule
        self.loop = VirtualLoop(random.Random(schedule.seed))  # noqa: S311  no secret
        self.context = contextvars.copy_context()
        self.context.run(FATE.set, Fate())
        self.store_host, self.broker_host = Host(self.context), Host(self.context)
        self.checker = Checker(self)
        self.store_server = ModelServer(self.loop.time, self.checker)
        self.sessions = Sessions(self.store_server, self.store_host)
        self.broker_server = BrokerServer(
            self.broker_host, requeues_behind=schedule.requeues_behind, watch=self.checker
        )
        self.broker_server.is_read_in_groups = schedule.in_bursts or schedule.reads_late
        self.plans = {event.id: event for callback in schedule.callbacks for event in callback.events}
        self.subjects = {event.id: each.subject for each in schedule.callbacks for event in each.events}
        self.expected: list[str] = []
        self.forgot = 0
        self.processes: list[Process] = []
        self.fleet: list[Process] = []
        self.trace: list[str] | None = [] if traced else None
        self._occurred_s: dict[str, float] = {}
        self._published_s: dict[str, float] = {}
        self._published: dict[str, list[tuple[str, ...]]] = {}
        self._events: dict[str, tuple[CanonicalEvent, ...]] = {}
        self._unpublished = len(schedule.callbacks)
        self._by_name: dict[str, Process] = {}
        self._disturbed_s = START_S
        self._calm_s = CALM_S + _work_s(schedule) + TAKES_TURNS_S * schedule.has_two_applications
        self._is_over = False
        self._injector = Injector(self)
        self._broken: Broken | None = None

    @property
    def now_s(self) -> float:
        return self.loop.time()

    def run(self) -> None:
        """Raises Broken."""
        for version in self.schedule.versions:
            self.fleet.append(self.start(version))
        for callback in self.schedule.callbacks:
            self.at(callback.at_s, self._publish, callback)
        for fault in self.schedule.faults:
            self.at(fault.at_s, self._injector.inject, fault)
        self.at(LOOK_EVERY_S, self._look)
        self.loop.run_until(lambda: self._is_over)
        if self._broken is None and not self.loop.errors:
            self.checker.check_end()
        if self._broken is None and self.loop.errors:
            self._broken = Broken("nothing fails unexpectedly", self.loop.errors[0])
        if self._broken is not None:
            raise self._broken

    def close(self) -> None:
        """End all tasks. What they ask of servers fails at once."""
        self.store_host.is_gone = self.broker_host.is_gone = True
        self.loop.close()

    def at(self, at_s: float, callback: object, *arguments: object) -> None:
        """Call it so many seconds after the start."""
        self.loop.call_at(START_S + at_s, callback, *arguments, context=self.context)  # type: ignore[arg-type]

    def later(self, delay_s: float, callback: object, *arguments: object) -> None:
        self.loop.call_later(delay_s, callback, *arguments, context=self.context)  # type: ignore[arg-type]

    def start(self, version: Version) -> Process:
        process = Process(self, f"{version}-{len(self.processes)}", version)
        self.processes.append(process)
        self._by_name[process.name] = process
        self.note(f"{process.name} starts")
        process.start()
        return process

    def process(self, name: str) -> Process:
        return self._by_name[name]

    def process_ended(self, process: Process) -> None:
        """Its connections end. A server that it cannot reach learns of it later."""
        self.note(f"{process.name} has ended")
        self.disturbed()
        self._injector.close_connections(process)

    def die_of(self, process: Process, plan: PlannedEvent) -> None:
        """The function has crashed its process, which is started again."""
        process.kill()
        self.checker.died(plan)
        self.replace(process, RESTART_S)

    def failed_to_start(self, process: Process) -> None:
        process.kill()
        self.replace(process, RESTART_S)

    def replace(self, process: Process, after_s: float, version: Version | None = None) -> None:
        """Start the successor of a process after a while."""
        if process in self.fleet:
            self.later(after_s, self._start_in_place_of, process, version or process.version)

    def occurred_s(self, event_id: str) -> float:
        """When an event occurred, on the wall clock."""
        return self._occurred_s[event_id]

    def normalise(self, envelope: Envelope) -> tuple[CanonicalEvent, ...]:
        return self._events[envelope.id]

    def goes_before(self, event_id: str) -> Iterator[str]:
        """The events of the same subject that go before this one: the queue got them before.

        With `reorder_s`, they did not occur later either.
        """
        occurred_s = self.occurred_s(event_id)
        for ids in self._published[self.subjects[event_id]]:
            if event_id in ids:
                return
            if not self.schedule.reorder_s or self.occurred_s(ids[0]) <= occurred_s:
                yield from ids

    def overtakes(self, event_id: str) -> Iterator[str]:
        """The events of the same subject that came so soon after this one that they go before it with `reorder_s`.

        It is held back no longer than those that occurred later, which it goes before.
        """
        occurred_s, published = self.occurred_s(event_id), self._published[self.subjects[event_id]]
        held_since_s = min(self._published_s[ids[0]] for ids in published if self.occurred_s(ids[0]) >= occurred_s)
        until_s = held_since_s + self.schedule.reorder_s - REORDER_MARGIN_S
        for ids in reversed(published):
            if event_id in ids:
                return
            if self._published_s[ids[0]] <= until_s and self.occurred_s(ids[0]) < self.occurred_s(event_id):
                yield from ids

    def later_events(self, event_id: str) -> Iterator[str]:
        """The events of the same subject that occurred later."""
        for ids in self._published[self.subjects[event_id]]:
            if self.occurred_s(ids[0]) > self.occurred_s(event_id):
                yield from ids

    def together_with(self, event_id: str) -> Sequence[str]:
        """The events of the same callback."""
        return next(ids for ids in self._published[self.subjects[event_id]] if event_id in ids)

    def disturbed(self) -> None:
        """Nothing need have settled down before a while from now."""
        self._disturbed_s = self.now_s

    def is_broken(self, broken: Broken) -> None:
        """End the run. The first broken promise counts."""
        self.note(f"BROKEN {broken}")
        self._broken = self._broken or broken
        self._is_over = True

    def note(self, text: str) -> None:
        if self.trace is not None:
            self.trace.append(f"{self.now_s - START_S:8.3f} s  {text}")

    def store_was_away(self, since_s: float) -> tuple[float, int]:
        return self._injector.store_was_away(since_s)

    @property
    def is_undisturbed(self) -> bool:
        """Whether no fault has happened yet."""
        return self._injector.is_undisturbed

    @property
    def broker_is_away_for_all(self) -> bool:
        return self._injector.broker_is_away_for_all

    def stood_still_s(self, process: Process, since_s: float) -> float:
        return self._injector.stood_still_s(process, since_s)

    def strike(self, owner: str) -> None:
        """Carry out a fault of a process that waits for such a moment."""
        self._injector.strike(owner)

    def was_disturbed(self, process: Process, kinds: Collection[FaultKind], within_s: float) -> bool:
        return self._injector.was_disturbed(process, kinds, within_s)

    def _start_in_place_of(self, process: Process, version: Version) -> None:
        if process in self.fleet:
            self.disturbed()
            self.fleet[self.fleet.index(process)] = self.start(version)

    def _publish(self, callback: Callback) -> None:
        """Ingress and broker are no part of this: the event is in the queue at once."""
        occurred_at = START + timedelta(seconds=callback.occurred_s)
        action = "joined" if callback.events[0].is_joined else "left"
        ids = tuple(event.id for event in callback.events)
        self._unpublished -= 1
        self._events["+".join(ids)] = tuple(_event(each, callback.occurred_s) for each in callback.events)
        envelope = Envelope(
            id="+".join(ids),
            provider="krtc",
            source="main",
            event_type=f"participant.{action}",
            subject=callback.subject,
            occurred_at=occurred_at,
            received_at=_RECEIVED_AT,
            content_type="",
            body=b"",
        )
        if self.broker_server.publish(envelope):
            self.note(f"{', '.join(ids)} of {callback.subject} published")
            self.expected += ids
            self._occurred_s |= dict.fromkeys(ids, occurred_at.timestamp())
            self._published_s |= dict.fromkeys(ids, self.now_s)
            self._published.setdefault(callback.subject, []).append(ids)

    def _look(self) -> None:
        """Every second: is all done, or does something stand still?"""
        if self.loop.errors:
            self._is_over = True
            return
        is_calm = self.now_s > self._disturbed_s + self._calm_s
        unfinished = self._unfinished()
        if unfinished is None and not self._unpublished and not self._injector.is_busy:
            self._is_over = True
            return
        if unfinished is not None and is_calm and not self._injector.is_global:
            self.is_broken(Broken("nothing stands still", unfinished))
        self.later(LOOK_EVERY_S, self._look)

    def _unfinished(self) -> str | None:
        """What is not done yet; None if nothing is left."""
        for name, queue in self.broker_server.queues.items():
            if queue.depth:
                waiting = f"{len(queue.ready)} ready, {queue.delayed} delayed"
                return f"{name}: {waiting}, {[len(each.unsettled) for each in queue.channels]} unsettled"
            if not any(self._consumes(each.owner) for each in queue.channels[: 1 if queue.is_partition else None]):
                return f"{name} has no consumer"
        return None if self.broker_server.queues else "nothing has been declared"

    def _consumes(self, owner: str) -> bool:
        process = self.process(owner)
        return process.is_alive and not process.fate.is_frozen


def _event(plan: PlannedEvent, occurred_s: float) -> CanonicalEvent:
    kind = ParticipantJoined if plan.is_joined else ParticipantLeft
    return make(kind, plan.id, at_s=occurred_s, user_id="user")


def _work_s(schedule: Schedule) -> float:
    """How long the calls take: one at a time for a subject, and two at a time in a single process."""
    by_subject: defaultdict[str, float] = defaultdict(float)
    for callback in schedule.callbacks:
        by_subject[callback.subject] += sum(min(each.times + 1, ATTEMPTS) * each.takes_s for each in callback.events)
    return max(*by_subject.values(), sum(by_subject.values()) / 2, 0.0)


_RECEIVED_AT = datetime.now(UTC)


@contextmanager
def _fewer_partitions() -> Iterator[None]:
    words, count = topics.PARTITION_WORDS, topics.PARTITIONS
    topics.PARTITION_WORDS, topics.PARTITIONS = words[:PARTITIONS], PARTITIONS
    try:
        yield
    finally:
        topics.PARTITION_WORDS, topics.PARTITIONS = words, count


@contextmanager
def _silent_logs() -> Iterator[None]:
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


def simulate(schedule: Schedule, *, traced: bool = False) -> Verdict:
    """Run a schedule once. The same schedule gives the same verdict."""
    with _fewer_partitions(), _silent_logs():
        world = World(schedule, traced=traced)
        rule, detail = None, ""
        with virtual_clock(world.loop, schedule.seed):
            try:
                world.run()
            except Broken as error:
                rule, detail = error.rule, str(error)
            except Endless as error:
                rule, detail = "nothing goes round in circles", str(error)
            finally:
                world.close()
        return Verdict(schedule, rule, detail, tuple(world.trace or ()), world.now_s - START_S)
