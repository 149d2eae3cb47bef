"""The faults of a schedule, carried out, and what is known of them afterwards."""

import random
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING

from hookline.schemas.envelope import ID_HEADER
from tests.simulation.broker_server import SILENT_S
from tests.simulation.network import NetworkPath
from tests.simulation.schedules import Fault, FaultKind, Version

if TYPE_CHECKING:
    from tests.simulation.processes import Process
    from tests.simulation.world import World

_TROUBLE = 0.2
_STRIKES = 0.5
_LOST_SETTLEMENTS = 0.5
_FORGOTTEN_S = 1.0
MAY_LOSE_ITS_LEASE: frozenset[FaultKind] = frozenset(
    {"freeze", "freeze at a copy", "cut from store", "store trouble", "store forgets"}
)
HAS_NO_STORE: frozenset[FaultKind] = MAY_LOSE_ITS_LEASE | {"machine pause", "store outage"}
_NOTICED_S = 8.0
_LATE_REPORTS: frozenset[FaultKind] = frozenset(
    {
        "freeze",
        "freeze at a copy",
        "machine pause",
        "cut from store",
        "store trouble",
        "cut from broker",
        "broker trouble",
    }
)
_OF_ALL = frozenset({"store outage", "store forgets", "store trouble", "broker restart", "broker trouble"})


class Injector:
    """Carries out faults. `is_busy` while one lasts, `is_global` while one lasts that concerns all processes."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._lasting: list[tuple[Fault, str]] = []
        self._ahead = len(world.schedule.faults)
        self._away: list[tuple[float, float]] = []
        self._disturbed: list[tuple[FaultKind, str, float]] = []
        self._still: list[tuple[str, float, float]] = []
        self._armed: dict[str, Fault] = {}
        self._broker_away_since_s = 0.0

    @property
    def is_busy(self) -> bool:
        return bool(self._lasting) or self._ahead > 0

    @property
    def is_undisturbed(self) -> bool:
        return self._ahead == len(self._world.schedule.faults)

    @property
    def is_global(self) -> bool:
        """Also where one process is cut off that may have taken events of an unordered worker again and again."""
        if not self._lasting or self._world.schedule.has_two_applications:
            return bool(self._lasting)
        concerned = {name for _, name in self._lasting}
        is_one_left = any(process.name not in concerned for process in self._world.fleet)
        is_of_all = any(fault.kind in _OF_ALL for fault, _ in self._lasting)
        return is_of_all or not is_one_left or self._world.schedule.mode != "ordered"

    @property
    def broker_is_away_for_all(self) -> bool:
        """Whether that has lasted for a while, and each process has noticed it at once."""
        now_s, away_since_s = self._world.now_s, self._broker_away_since_s
        is_noticed = not any(fault.kind in _LATE_REPORTS for fault in self._world.schedule.faults)
        return is_noticed and away_since_s + _NOTICED_S <= now_s < self._world.broker_host.down_until_s

    def inject(self, fault: Fault) -> None:
        self._world.note(f"FAULT {fault}")
        self._ahead -= 1
        self._world.disturbed()
        _CARRY_OUT[fault.kind](self, fault)

    def strike(self, owner: str) -> None:
        """A process has noted an attempt, or passed on a copy, and does not know yet: the moment of some faults."""
        if owner in self._armed and random.random() < _STRIKES:  # noqa: S311  no secret
            fault, process = self._armed.pop(owner), self._world.process(owner)
            self._world.note(f"STRIKES {fault}")
            self._world.disturbed()
            if fault.kind == "kill at a copy":
                self._kill(process, fault)
            else:
                self._freeze(process, fault)

    def store_was_away(self, since_s: float) -> tuple[float, int]:
        """For how many seconds, and how often, its clock's jumps included."""
        now_s = self._world.now_s
        times = [(from_s, until_s) for from_s, until_s in self._away if until_s >= since_s]
        return sum(min(until_s, now_s) - max(from_s, since_s) for from_s, until_s in times), len(times)

    def stood_still_s(self, process: "Process", since_s: float) -> float:
        """For how many seconds a process did not run."""
        now_s = self._world.now_s
        times = [(from_s, until_s) for name, from_s, until_s in self._still if name in {"", process.name}]
        return sum(max(0.0, min(until_s, now_s) - max(from_s, since_s)) for from_s, until_s in times)

    def was_disturbed(self, process: "Process", kinds: Collection[FaultKind], within_s: float) -> bool:
        """Whether a fault of these kinds concerned a process, at most so long ago."""
        since_s = self._world.now_s - within_s
        return any(
            kind in kinds and name in {"", process.name} and until_s >= since_s
            for kind, name, until_s in self._disturbed
        )

    def close_connections(self, process: "Process") -> None:
        """A server that the process could not reach finds out after a while."""
        world = self._world
        if world.schedule.mode == "transactional":
            self._after_cut(process.to_store, lambda: world.sessions.end_of(process.name))
        self._after_cut(process.to_broker, lambda: world.broker_server.end_connection(process.name))

    def _after_cut(self, path: NetworkPath, effect: Callable[[], None]) -> None:
        if path.cut_until_s > self._world.now_s:
            self._world.later(SILENT_S, effect)
        else:
            effect()

    def _end_channels(self, process: "Process") -> None:
        for channel in self._world.broker_server.channels(process.name):
            channel.end()

    def _target(self, fault: Fault) -> "Process":
        return self._world.fleet[fault.process % len(self._world.fleet)]

    def _last(self, fault: Fault, over: Callable[[], None] | None = None, name: str = "") -> None:
        """The fault lasts for its time."""
        now_s = self._world.now_s
        self._lasting.append((fault, name))
        self._disturbed.append((fault.kind, name, now_s + fault.for_s))

        def end() -> None:
            self._world.note(f"OVER  {fault}")
            self._lasting.remove((fault, name))
            self._world.disturbed()
            if over is not None:
                over()

        self._world.later(fault.for_s, end)

    # Servers

    def store_outage(self, fault: Fault) -> None:
        world, now_s = self._world, self._world.now_s
        world.store_host.down_until_s = max(world.store_host.down_until_s, now_s + fault.for_s)
        world.store_host.restarts += 1
        self._away.append((now_s, now_s + fault.for_s))
        world.sessions.end_of()
        self._last(fault)

    def store_forgets(self, fault: Fault) -> None:
        """Redis with `appendfsync everysec` loses its last second."""
        snapshot = self._world.store_server.snapshot()

        def forget() -> None:
            self._lasting.remove((fault, ""))
            self._world.checker.forgot(self._world.store_server.forget_since(snapshot))
            self._world.forgot += 1
            self.store_outage(fault)

        self._lasting.append((fault, ""))
        self._world.later(_FORGOTTEN_S, forget)

    def store_trouble(self, fault: Fault) -> None:
        self._trouble(fault, [process.to_store for process in self._world.fleet])

    def broker_trouble(self, fault: Fault) -> None:
        self._trouble(fault, [process.to_broker for process in self._world.fleet])

    def _trouble(self, fault: Fault, paths: list[NetworkPath]) -> None:
        for path in paths:
            path.lost = path.late = _TROUBLE

        def over() -> None:
            for path in paths:
                path.lost = path.late = 0.0

        self._last(fault, over)

    def broker_restart(self, fault: Fault) -> None:
        world = self._world
        self._broker_away_since_s = world.now_s
        world.broker_host.down_until_s = world.now_s + fault.for_s
        world.broker_host.restarts += 1
        for channel in world.broker_server.channels():
            channel.end()
        self._last(fault)

    def queue_deleted(self, fault: Fault) -> None:
        """Somebody deletes a queue, with what is in it. Processes declare it again, later if they cannot reach it."""
        world = self._world
        names = sorted(world.broker_server.queues)
        if names:
            lost = world.broker_server.delete(names[fault.process % len(names)])
            world.checker.deleted(event_id for message in lost for event_id in message.headers[ID_HEADER].split("+"))
        self._last(fault)

    def clock_jump(self, fault: Fault) -> None:
        """Of the store's server."""
        self._world.store_server.clock_offset_s += fault.for_s
        self._away.append((self._world.now_s, self._world.now_s))

    def machine_pause(self, fault: Fault) -> None:
        now_s = self._world.now_s
        self._away.append((now_s, now_s + fault.for_s))
        self._still.append(("", now_s, now_s + fault.for_s))
        self._disturbed.append((fault.kind, "", now_s + fault.for_s))
        self._world.loop.jump(fault.for_s)
        self._world.disturbed()

    # Paths

    def cut_from_store(self, fault: Fault) -> None:
        process = self._target(fault)
        process.to_store.cut_until_s = self._world.now_s + fault.for_s
        self._last(fault, name=process.name)

    def cut_from_broker(self, fault: Fault) -> None:
        """Both ends find out after a while."""
        process = self._target(fault)
        process.to_broker.cut_until_s = self._world.now_s + fault.for_s
        if fault.for_s > SILENT_S:
            self._world.later(SILENT_S, self._end_silent, process)
        self._last(fault, name=process.name)

    def _end_silent(self, process: "Process") -> None:
        self._world.disturbed()
        for channel in self._world.broker_server.channels(process.name):
            channel.end()
            self._world.loop.call_soon(channel.lost.set, context=process.context)

    def channel_closed(self, fault: Fault) -> None:
        channels = self._world.broker_server.channels(self._target(fault).name)
        for channel in channels[: 1 + len(channels) // 2]:
            channel.end()

    def settlement_lost(self, fault: Fault) -> None:
        """Settlements have their effect, and the message comes again: the connection breaks before the ack is there."""
        process = self._target(fault)
        process.lose_settlements(_LOST_SETTLEMENTS)
        self._last(fault, lambda: process.lose_settlements(0.0), process.name)

    # Processes

    def at_a_copy(self, fault: Fault) -> None:
        self._armed[self._target(fault).name] = fault

    def kill(self, fault: Fault) -> None:
        self._kill(self._target(fault), fault)

    def _kill(self, process: "Process", fault: Fault) -> None:
        if process.is_alive:
            process.kill()
            self._world.replace(process, fault.for_s)
            self._last(fault, name=process.name)

    def freeze(self, fault: Fault) -> None:
        self._freeze(self._target(fault), fault)

    def _freeze(self, process: "Process", fault: Fault) -> None:
        world = self._world
        process.fate.is_frozen = True
        self._still.append((process.name, world.now_s, world.now_s + fault.for_s))
        if fault.for_s > SILENT_S:
            world.later(SILENT_S, self._end_frozen, process)
        self._last(fault, lambda: world.loop.thaw(process.fate), process.name)

    def _end_frozen(self, process: "Process") -> None:
        self._world.disturbed()
        self._end_channels(process)

    def stop(self, fault: Fault) -> None:
        process = self._target(fault)
        process.stop()
        self._world.replace(process, 0.5)

    def deploy(self, fault: Fault) -> None:
        """One process after another is replaced by v2. All overlap."""
        self._roll(fault, "v2")

    def rollback(self, fault: Fault) -> None:
        """To v1, and forward again."""
        self._roll(fault, "v1")
        self._world.later(fault.for_s + 1, self._roll, fault, "v2")

    def _roll(self, fault: Fault, version: Version) -> None:
        count = len(self._world.fleet)
        for number in range(count):
            self._world.later(fault.for_s * number / count, self._replace_one, number, version)
        self._last(fault)

    def _replace_one(self, number: int, version: Version) -> None:
        world = self._world
        old = world.fleet[number]
        world.disturbed()
        world.fleet[number] = world.start(version)
        old.stop()

    def scale_out(self, fault: Fault) -> None:
        """One more process, which stays if it is for no time."""
        process = self._world.start(self._world.fleet[0].version)
        if fault.for_s:
            self._last(fault, process.stop)
        else:
            self._world.fleet.append(process)


_CARRY_OUT: Mapping[FaultKind, Callable[[Injector, Fault], None]] = {
    "store outage": Injector.store_outage,
    "store forgets": Injector.store_forgets,
    "store trouble": Injector.store_trouble,
    "cut from store": Injector.cut_from_store,
    "cut from broker": Injector.cut_from_broker,
    "broker restart": Injector.broker_restart,
    "broker trouble": Injector.broker_trouble,
    "channel closed": Injector.channel_closed,
    "settlement lost": Injector.settlement_lost,
    "queue deleted": Injector.queue_deleted,
    "kill": Injector.kill,
    "freeze": Injector.freeze,
    "kill at a copy": Injector.at_a_copy,
    "freeze at a copy": Injector.at_a_copy,
    "stop": Injector.stop,
    "deploy": Injector.deploy,
    "rollback": Injector.rollback,
    "clock jump": Injector.clock_jump,
    "machine pause": Injector.machine_pause,
    "scale out": Injector.scale_out,
}
