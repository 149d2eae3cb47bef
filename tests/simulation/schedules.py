"""Schedules: the events, the processes and the faults of one run, drawn at random from a seed."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias, get_args

from hookline.schemas.leases import LEASE_S

Mode: TypeAlias = Literal["plain", "ordered", "transactional"]
Act: TypeAlias = Literal["return", "fail", "poison", "kill", "retry"]
Version: TypeAlias = Literal["v1", "v2", "other"]
"""v1 of the worker wants `ParticipantJoined`; v2 wants `ParticipantLeft`, too; another application wants only that."""
FaultKind: TypeAlias = Literal[
    "store outage",
    "store forgets",
    "store trouble",
    "cut from store",
    "cut from broker",
    "broker restart",
    "broker trouble",
    "channel closed",
    "settlement lost",
    "queue deleted",
    "kill",
    "freeze",
    "stop",
    "deploy",
    "rollback",
    "clock jump",
    "machine pause",
    "scale out",
    "kill at a copy",
    "freeze at a copy",
]

PUBLISH_S = 8.0
LATEST_FAULT_S = 12.0
_AT_ONCE_S = 4.0
_BURSTS_IN = 4  # one schedule of so many publishes in bursts, which processes take in groups
_BURST_EVERY_S = 2.0
_LATE_READS_IN = 4  # in one of so many, processes read a little later what has arrived
_COPIES_IN = 8  # in one of so many, functions fail more often, and processes end as they pass copies on
_FAILS = 0.4


@dataclass(frozen=True, slots=True)
class PlannedEvent:
    """An event, and what the function does with it: `act` in its first `times` calls, then it returns."""

    id: str
    is_joined: bool
    takes_s: float
    act: Act = "return"
    times: int = 0


@dataclass(frozen=True, slots=True)
class Callback:
    """What is published at a time: one event, or several. The kind of the first is the type of the callback."""

    at_s: float
    subject: str
    events: tuple[PlannedEvent, ...]
    occurred_s: float


@dataclass(frozen=True, slots=True)
class Fault:
    at_s: float
    kind: FaultKind
    process: int = 0
    for_s: float = 0.0

    def __str__(self) -> str:
        whom = f" of process {self.process}" if self.kind in _OF_ONE_PROCESS else ""
        return f"{self.at_s:6.2f} s  {self.kind}{whom}" + (f" for {self.for_s:.1f} s" if self.for_s else "")


_OF_ONE_PROCESS = frozenset(
    {
        "cut from store",
        "cut from broker",
        "channel closed",
        "settlement lost",
        "kill",
        "freeze",
        "stop",
        "kill at a copy",
        "freeze at a copy",
    }
)


@dataclass(frozen=True, slots=True)
class Schedule:
    seed: int
    mode: Mode
    versions: tuple[Version, ...]
    callbacks: tuple[Callback, ...]
    faults: tuple[Fault, ...]
    requeues_behind: bool = False
    in_bursts: bool = False
    reads_late: bool = False
    latest_only: bool = False
    reorder_s: float = 0.0

    @property
    def has_two_applications(self) -> bool:
        return "other" in self.versions

    def __str__(self) -> str:
        events = sum(len(each.events) for each in self.callbacks)
        options = [
            *["latest_only"] * self.latest_only,
            *["late reads"] * self.reads_late,
            *[f"reorder_s={self.reorder_s:g}"] * bool(self.reorder_s),
        ]
        mode = " ".join([self.mode, *options])
        lines = [f"seed {self.seed}: {mode}, processes {', '.join(self.versions)}, {events} events"]
        return "\n".join([*lines, *map(str, self.faults)])


@dataclass(frozen=True, slots=True)
class Theme:
    """What some schedules are about: faults that are rarely drawn together otherwise."""

    modes: tuple[Mode, ...]
    kinds: tuple[FaultKind, ...]
    faults: tuple[int, ...]
    has_two_applications: bool = False


def draw(seed: int) -> Schedule:
    """The schedule of a seed."""
    chance = random.Random(seed)  # noqa: S311  no secret
    theme = chance.choices(_THEMES, _WEIGHTS_OF_THEMES)[0]
    mode = chance.choice(theme.modes)
    count = chance.choice((2, 2, 3))
    faults = tuple(sorted(_faults(chance, theme, mode, count), key=lambda fault: fault.at_s))
    is_deploy = any(fault.kind in {"deploy", "rollback"} for fault in faults)
    first: Version = "v1" if any(fault.kind == "deploy" for fault in faults) else "v2"
    versions: tuple[Version, ...] = (first,) * count
    if theme.has_two_applications:
        versions = ("v1", "other") if count == 2 else ("v1", "other", "v1")
    with_left = theme.has_two_applications or is_deploy or chance.random() < 0.5
    most = 6 if theme.has_two_applications else 16
    is_late = chance.random() < 0.3
    callbacks = _callbacks(chance, mode, with_left=with_left, is_late=is_late, most=most)
    in_bursts = seed % _BURSTS_IN == 2 and mode != "transactional"  # which is not asked in groups
    if in_bursts:
        callbacks = [replace(each, at_s=each.at_s - each.at_s % _BURST_EVERY_S) for each in callbacks]
    schedule = Schedule(
        seed=seed,
        mode=mode,
        versions=versions,
        callbacks=tuple(callbacks),
        in_bursts=in_bursts,
        reads_late=seed % _LATE_READS_IN == 3,
        faults=faults,
        requeues_behind=chance.random() < 0.3,
        latest_only=is_late and chance.random() < 0.5,
        reorder_s=chance.uniform(0.2, 2) if is_late and mode == "ordered" and chance.random() < 0.7 else 0.0,
    )
    return _with_copies(schedule) if seed % _COPIES_IN == 5 else schedule


def _with_copies(schedule: Schedule) -> Schedule:
    """The schedule with more events that fail, and a process that is killed or frozen as it passes a copy on."""
    chance = random.Random(f"copies of {schedule.seed}")  # noqa: S311  no secret
    kind = chance.choice(_AT_A_COPY)
    lasts_s = chance.uniform(0.5, 5) if kind == "kill at a copy" else _sometimes_very_long(chance)
    fault = Fault(chance.uniform(0.5, PUBLISH_S), kind, chance.randrange(len(schedule.versions)), lasts_s)
    callbacks = tuple(
        replace(each, events=tuple(_failing(chance, event) for event in each.events)) for each in schedule.callbacks
    )
    faults = sorted([*schedule.faults, fault], key=lambda each: each.at_s)
    return replace(schedule, callbacks=callbacks, faults=tuple(faults))


def _failing(chance: random.Random, event: PlannedEvent) -> PlannedEvent:
    if event.act != "return" or chance.random() > _FAILS:
        return event
    if chance.random() < 0.25:
        return replace(event, act="retry", times=chance.randint(1, 2))
    return replace(event, act="fail", times=chance.choice((1, 2, 100)))


def _callbacks(chance: random.Random, mode: Mode, *, with_left: bool, is_late: bool, most: int) -> Sequence[Callback]:
    subjects = [f"room-{number}" for number in range(chance.randint(1, 4))]
    slowest_s = chance.choice((0.05, 0.3, 1.0, 2.5))
    made, number = [], 0
    for at_s in sorted(chance.uniform(0, PUBLISH_S) for _ in range(chance.randint(3, most))):
        members = chance.randint(2, 3) if mode != "transactional" and chance.random() < 0.1 else 1
        is_joined = not with_left or chance.random() < 0.6
        is_mixed = with_left and members > 1 and chance.random() < 0.5
        events: list[PlannedEvent] = []
        for _ in range(members):
            act, times = _act(chance, mode)
            is_joined = is_joined is not (is_mixed and bool(events) and chance.random() < 0.7)
            events.append(PlannedEvent(f"e{number:02}", is_joined, chance.uniform(0, slowest_s), act, times))
            number += 1
        occurred_s = at_s - (chance.uniform(0, 2) if is_late else 0.0)
        made.append(Callback(at_s, chance.choice(subjects), tuple(events), occurred_s))
    return made


def _act(chance: random.Random, mode: Mode) -> tuple[Act, int]:
    roll = chance.random()
    if roll < 0.03:
        return "fail", 100
    if roll < 0.10:
        return "fail", chance.randint(1, 2)
    if roll < 0.12:
        return "poison", 100
    if roll < 0.14:
        return "retry", chance.randint(1, 2)
    if roll < 0.145 and mode != "transactional":
        return "kill", 100
    return "return", 0


def _faults(chance: random.Random, theme: Theme, mode: Mode, count: int) -> list[Fault]:
    kinds = [kind for kind in theme.kinds if kind != "store forgets" or mode != "transactional"]
    first_s, last_s = 1.0, LATEST_FAULT_S
    if chance.random() < 0.5:  # at about the same time
        first_s = chance.uniform(1.0, LATEST_FAULT_S - _AT_ONCE_S)
        last_s = first_s + _AT_ONCE_S
    faults = []
    for kind in dict.fromkeys(chance.choices(kinds, k=chance.choice(theme.faults))):
        at_s = chance.uniform(first_s, last_s)
        lasts = _DURATIONS.get(kind)
        faults.append(Fault(at_s, kind, chance.randrange(count), lasts(chance) if lasts else 0.0))
    return faults


def _short_or_long(chance: random.Random) -> float:
    """Shorter or longer than a lease."""
    return chance.uniform(0.5, 6) if chance.random() < 0.6 else chance.uniform(LEASE_S, 2.5 * LEASE_S)


def _restart_s(chance: random.Random) -> float:
    """Sometimes longer than a lease."""
    roll = chance.uniform(0.5, 10)
    return roll if roll < 7 else LEASE_S + 5 * (roll - 7)


def _sometimes_very_long(chance: random.Random) -> float:
    return chance.uniform(40, 60) if chance.random() < 0.2 else _short_or_long(chance)


_MODES: tuple[Mode, ...] = ("plain", "ordered", "transactional")
_AT_A_COPY: tuple[FaultKind, ...] = ("kill at a copy", "freeze at a copy")
_KINDS: tuple[FaultKind, ...] = tuple(kind for kind in get_args(FaultKind) if kind not in _AT_A_COPY)
_STORE: tuple[FaultKind, ...] = ("store outage", "store trouble", "store forgets", "cut from store")
_FLEET: tuple[FaultKind, ...] = ("kill", "stop", "scale out", "deploy", "rollback")
_THEMES = (
    Theme(_MODES, _KINDS, (1, 1, 2, 2, 3, 4)),
    Theme(_MODES, (*_STORE, "kill", "freeze"), (1, 2, 3)),
    Theme(("ordered",), (*_STORE, *_FLEET), (2, 3, 4)),
    Theme(("ordered",), ("store trouble", "scale out", "stop", "kill"), (2, 3, 4)),
    Theme(("ordered",), ("cut from store", "freeze", "cut from broker"), (1, 1, 2)),
    Theme(("transactional",), ("freeze", "store outage", "store trouble", "kill", "cut from store"), (1, 2, 3)),
    Theme(("plain", "ordered"), ("deploy", "rollback", "kill", "store trouble", "broker restart"), (1, 2, 3)),
    Theme(_MODES, ("clock jump", "machine pause", "store outage"), (1, 2)),
    Theme(_MODES, ("settlement lost", "channel closed", "store trouble", "kill", "stop"), (1, 2, 3)),
    Theme(
        ("plain", "ordered"),
        ("kill", "freeze", "store trouble", "broker restart", "stop"),
        (0, 1, 2),
        has_two_applications=True,
    ),
)
_WEIGHTS_OF_THEMES = (6, 3, 2, 3, 2, 2, 2, 1, 2, 2)
_DURATIONS: Mapping[FaultKind, Callable[[random.Random], float]] = {
    "store outage": _short_or_long,
    "store forgets": lambda chance: chance.uniform(0.2, 2),
    "store trouble": lambda chance: chance.uniform(2, 8),
    "cut from store": _sometimes_very_long,
    "cut from broker": _short_or_long,
    "broker restart": _restart_s,
    "settlement lost": lambda chance: chance.uniform(3, 10),
    "queue deleted": lambda chance: chance.uniform(0.1, 3),
    "broker trouble": lambda chance: chance.uniform(2, 8),
    "kill": lambda chance: chance.uniform(0.5, 15),
    "freeze": _sometimes_very_long,
    "deploy": lambda chance: chance.uniform(2, 10),
    "rollback": lambda chance: chance.uniform(2, 10),
    "clock jump": lambda chance: chance.choice((-1, 1)) * chance.choice((8, 3600)),
    "machine pause": lambda chance: chance.uniform(4, 30),
    "scale out": lambda chance: chance.choice((0.0, chance.uniform(2, 10))),
}
