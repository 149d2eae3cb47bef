"""The kinds of faults, and the schedule of a run: drawn from a seed before anything happens."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal, TypeAlias

from tests.chaos.proxy import CUTS, LASTING_CUTS

Store: TypeAlias = Literal["redis", "postgresql"]

LEASE_S = 10.0
"""How long the store waits for a process before others get what it holds."""
WORKERS = ("worker-0", "worker-1", "worker-2", "worker-3")
INGRESS, RABBITMQ, STORE, ALL_WORKERS = "ingress", "rabbitmq", "store", "all workers"

_Range: TypeAlias = tuple[float, float]
_MOMENT: _Range = (0, 0)
_SHORT: _Range = (1, 6)
_LONG: _Range = (LEASE_S + 3, LEASE_S + 15)
_FIRST_AT_S = 5.0
_GAP_S: _Range = (2, 12)
_REST_S = 3.0
_LAST_END = 0.9


@dataclass(frozen=True, slots=True)
class Kind:
    """What a fault of this kind may hit, how long it lasts, in which ways it may happen, and how soon again."""

    targets: Sequence[str]
    lasts_s: _Range
    ways: Sequence[str] = ("",)
    stores: Sequence[Store] = ("redis", "postgresql")
    rest_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens at `at_s` seconds after the first event."""

    at_s: float
    kind: str
    target: str
    lasts_s: float
    way: str = ""

    @property
    def resources(self) -> tuple[str, ...]:
        """What no other fault may touch during this one."""
        return WORKERS if self.target == ALL_WORKERS else (self.target,)

    def __str__(self) -> str:
        lasts = f" for {self.lasts_s:.1f} s" if self.lasts_s else ""
        return f"{self.at_s:6.1f} s  {self.kind}{f' ({self.way})' if self.way else ''}: {self.target}{lasts}"


KINDS: Mapping[str, Kind] = {
    "kill": Kind(WORKERS, (0.5, LEASE_S + 5)),
    "stop": Kind(WORKERS, (0.5, LEASE_S + 5)),
    "freeze-short": Kind(WORKERS, _SHORT),
    "freeze-long": Kind(WORKERS, _LONG),
    "kill-ingress": Kind((INGRESS,), _SHORT),
    "rabbitmq-stop-app-short": Kind((RABBITMQ,), _SHORT),
    "rabbitmq-stop-app-long": Kind((RABBITMQ,), (25, 90)),
    "rabbitmq-kill": Kind((RABBITMQ,), _SHORT),
    "rabbitmq-freeze-short": Kind((RABBITMQ,), _SHORT),
    "rabbitmq-freeze-long": Kind((RABBITMQ,), _LONG),
    "rabbitmq-close-connections": Kind((RABBITMQ,), _MOMENT),
    "store-freeze-short": Kind((STORE,), _SHORT),
    "store-freeze-long": Kind((STORE,), _LONG),
    "store-kill-short": Kind((STORE,), _SHORT),
    "store-kill-long": Kind((STORE,), _LONG),
    "cut-rabbitmq-short": Kind((*WORKERS, INGRESS), _SHORT, CUTS),
    "cut-rabbitmq-long": Kind((*WORKERS, INGRESS), _LONG, LASTING_CUTS),
    "cut-store-short": Kind(WORKERS, _SHORT, CUTS),
    "cut-store-long": Kind(WORKERS, _LONG, LASTING_CUTS),
    "cut-both-short": Kind(WORKERS, _SHORT, CUTS),
    "cut-both-long": Kind(WORKERS, _LONG, LASTING_CUTS),
    "deploy": Kind((ALL_WORKERS,), _MOMENT, rest_s=30),
    "failover": Kind((STORE,), _MOMENT, stores=("redis",), rest_s=45),
    "pgbouncer": Kind((STORE,), _MOMENT, stores=("postgresql",), rest_s=30),
}


def draw(seed: int, seconds: float, kinds: Sequence[str]) -> list[Fault]:
    """Faults for a run of so many seconds. Every kind comes once before any comes twice; faults overlap.

    A deploy goes to the new version and the next one back. The last one always leaves the new version. In the same way
    `pgbouncer` puts the pooler before PostgreSQL, and the next one takes it away.
    """
    random, deck, free_at_s = Random(seed), list[str](), dict[str, float]()  # noqa: S311  # no secret
    faults: list[Fault] = []
    at_s = _FIRST_AT_S
    for _ in range(round(seconds)):  # far more than there is time for
        deck = deck or random.sample(kinds, len(kinds))
        fault = _draw(random, at_s, deck.pop())
        begins_s = max([at_s, *(free_at_s.get(name, 0) for name in (fault.kind, *fault.resources))])
        fault = Fault(round(begins_s, 1), fault.kind, fault.target, fault.lasts_s, fault.way)
        ends_s = fault.at_s + fault.lasts_s
        if ends_s < _LAST_END * seconds:
            faults.append(fault)
            free_at_s.update(dict.fromkeys(fault.resources, ends_s + _REST_S))
            free_at_s[fault.kind] = ends_s + KINDS[fault.kind].rest_s
            at_s += random.uniform(*_GAP_S)
    faults.sort(key=lambda fault: fault.at_s)
    if sum(fault.kind == "deploy" for fault in faults) % 2 == 0 and "deploy" in kinds:
        faults.append(Fault(round(_LAST_END * seconds, 1), "deploy", ALL_WORKERS, 0))
    return faults


def _draw(random: Random, at_s: float, name: str) -> Fault:
    kind = KINDS[name]
    target, way = random.choice(kind.targets), random.choice(kind.ways)
    lasts_s = 0.0 if way == "drop" else round(random.uniform(*kind.lasts_s), 1)
    return Fault(at_s, name, target, lasts_s, way)
