"""Judges a run: what was lost, doubled, out of order or standing still, for each worker."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from tests.chaos.events import Key, Sent, partition
from tests.chaos.expectations import expected, handled
from tests.chaos.explanations import Explanations
from tests.chaos.history import Call, History
from tests.chaos.leftovers import UNROUTED, is_left
from tests.chaos.processes import READY_S, STOP_S

MAX_STANDSTILL_S = 15.0
"""On an idle machine."""
_COMPUTING_S = 1.0
"""How much of a recovery is computing, above all the start of a process. The rest is time-outs."""


@dataclass(frozen=True)
class Findings:
    """What became of the events of one worker. Lists have one sentence for each case.

    `doubled` counts calls beyond an event's first, by what explains them. `blamed` are calls after a failure that was
    counted although no function fails. `drained_s` counts from the last fault; it is
    None if something that is not lost was never handled. `standstill_s` is the longest time without any fault in which
    events of a partition, or of an unordered queue, waited and none was handled. `slowest_s` is the longest time that
    an event waited, faults or not.
    """

    worker: str
    expected: int
    handled: int
    waiting: int
    dead: int
    unrouted: int
    lost: Sequence[str]
    doubled: Mapping[str, int]
    unexplained: Sequence[str]
    blamed: Sequence[str]
    out_of_order: Sequence[str]
    standstill_s: float
    slowest_s: float
    drained_s: float | None


@dataclass(frozen=True)
class Verdict:
    """`broken` has one sentence for each promise that did not hold.

    `max_standstill_s` allows for how slow the machine was. `ingress_standstill_s` is the longest time without any fault
    in which callbacks were sent and none had a 2xx.
    """

    sent: int
    acked: int
    max_standstill_s: float
    ingress_standstill_s: float
    findings: Sequence[Findings]
    ended_by_itself: Sequence[str]
    broken: Sequence[str] = field(default_factory=list)


def check(history: History) -> Verdict:
    explanations = Explanations(history)
    findings = [_findings(worker, history, explanations) for worker in history.workers]
    ended = [
        f"{life.name} (pid {life.pid}) ended by itself with code {life.code} after it had been ready"
        for life in history.lives
        if life.how == "by itself" and life.was_ready()
    ]
    hung = [
        f"{life.name} (pid {life.pid}) did not end within {STOP_S:g} s of SIGTERM"
        for life in history.lives
        if life.how == "hung"
    ]
    acked = sum(sent.acked_at is not None for sent in history.sent)
    unready = [f"{name} was not ready within {READY_S:g} s of a deploy" for name in history.never_ready]
    ingress_s = _over_quiet([_wait(sent) for sent in history.sent], history)
    max_s = MAX_STANDSTILL_S + _COMPUTING_S * (history.slowdown - 1)
    broken = [*ended, *hung, *unready, *(sentence for each in findings for sentence in _broken(each, max_s))]
    if acked < len(history.sent):
        broken.append(f"{len(history.sent) - acked} callbacks never had a 2xx")
    if ingress_s > max_s:
        broken.append(f"ingress: no callback had a 2xx for {ingress_s:.1f} s without a fault")
    return Verdict(len(history.sent), acked, max_s, ingress_s, findings, ended, broken)


def _broken(findings: Findings, max_standstill_s: float) -> Iterable[str]:
    worker = findings.worker
    if findings.lost:
        yield f"{worker}: {len(findings.lost)} events are lost"
    if findings.unexplained:
        yield f"{worker}: {len(findings.unexplained)} calls were repeated for no good reason"
    if findings.blamed:
        yield f"{worker}: {len(findings.blamed)} events have used up attempts; no handler failed"
    if findings.out_of_order:
        yield f"{worker}: {len(findings.out_of_order)} events are out of order"
    if findings.standstill_s > max_standstill_s:
        yield f"{worker}: it stood still for {findings.standstill_s:.1f} s without a fault"
    if findings.dead or findings.unrouted:
        yield f"{worker}: {findings.dead} events are dead letters and {findings.unrouted} unrouted; no handler failed"
    if findings.waiting:
        yield f"{worker}: {findings.waiting} events still wait"


def _findings(worker: str, history: History, explanations: Explanations) -> Findings:
    wanted = expected(worker, history.sent, history.left_bound)
    done = handled(worker, history.calls)
    places = history.left.get(worker, {})
    missing = [key for key in wanted if key not in done]
    lost = [key for key in missing if not is_left(history.left, worker, key)]
    kept = {key: acked_at for key, acked_at in wanted.items() if key not in lost}
    calls = sorted((call for call in history.calls if call.worker == worker), key=lambda call: call.began_at)
    doubled, unexplained = _repeats(calls, explanations)
    ends = [done[key] for key in wanted if key in done]
    return Findings(
        worker=worker,
        expected=len(wanted),
        handled=len(wanted) - len(missing),
        waiting=sum(place == "waiting" for key, place in places.items() if key not in done),
        dead=sum(place == "dead" for place in places.values()),
        unrouted=sum(key in history.left.get(UNROUTED, {}) for key in missing),
        lost=[_name(key) for key in lost],
        doubled=doubled,
        unexplained=unexplained,
        blamed=[f"{_name(call.key)} {_call(call, explanations)}" for call in calls if call.attempt > 1],
        out_of_order=_out_of_order(calls, done, explanations) if worker == "ordered" else [],
        standstill_s=_longest_standstill(worker, kept, done, history),
        slowest_s=max((done.get(key, history.ended_at) - acked_at for key, acked_at in kept.items()), default=0.0),
        drained_s=None if len(missing) > len(lost) else max(0.0, max(ends, default=0.0) - history.last_fault_at),
    )


def _repeats(calls: Sequence[Call], explanations: Explanations) -> tuple[dict[str, int], list[str]]:
    """How many calls repeat an earlier one, by what explains them; and a sentence for each that nothing explains."""
    doubled, unexplained = defaultdict[str, int](int), list[str]()
    by_key = defaultdict[Key, list[Call]](list)
    for call in calls:
        by_key[call.key].append(call)
    for key, of_key in by_key.items():
        for before, call in pairwise(of_key):
            why = explanations.of_repeat(before, call)
            if why is None:
                unexplained.append(f"{_name(key)}: {_call(before, explanations)}, then {_call(call, explanations)}")
            else:
                doubled[why] += 1
    return dict(doubled), unexplained


def _out_of_order(calls: Sequence[Call], done: Mapping[Key, float], explanations: Explanations) -> list[str]:
    """A sentence for each call that overtakes an event, or that runs beside another of its room."""
    found: list[str] = []
    by_room = defaultdict[str, list[Call]](list)
    for call in calls:
        earlier = by_room[call.key.room]
        found += _overtaken(call, done, explanations)
        found += [
            f"{_name(call.key)} {_call(call, explanations)} beside {_name(other.key)} {_call(other, explanations)}"
            for other in earlier
            if other.key != call.key
            and call.began_at < explanations.end_of(other)
            and not explanations.of_overlap(other, call)
        ]
        earlier.append(call)
    return found


def _overtaken(call: Call, done: Mapping[Key, float], explanations: Explanations) -> list[str]:
    """A sentence if an earlier event of the room was handled only after this call began, unless it never was."""
    room, number = call.key
    late = [Key(room, earlier) for earlier in range(number) if done.get(Key(room, earlier), 0.0) > call.began_at]
    return [f"{_name(call.key)} {_call(call, explanations)} overtook {_name(late[0])}"] if late else []


def _longest_standstill(worker: str, wanted: Mapping[Key, float], done: Mapping[Key, float], history: History) -> float:
    """Over the partitions of an ordered worker, or the one queue of another."""
    streams = defaultdict[int, list[tuple[float, float]]](list)
    for key, acked_at in wanted.items():
        stream = partition(key.room) if worker == "ordered" else 0
        streams[stream].append((acked_at, done.get(key, float("inf"))))
    return max((_over_quiet(waits, history) for waits in streams.values()), default=0.0)


def _wait(sent: Sent) -> tuple[float, float]:
    return sent.first_tried_at, float("inf") if sent.acked_at is None else sent.acked_at


def _over_quiet(waits: Sequence[tuple[float, float]], history: History) -> float:
    return max(_standstill(waits, *quiet) for quiet in history.quiet)


def _standstill(waits: Sequence[tuple[float, float]], since: float, until: float) -> float:
    """The longest time between `since` and `until` in which something waited and nothing was handled.

    Each wait is from the 2xx of an event to its handling, or from a callback to its 2xx. What waits just before the end
    of a wait has waited since it began.
    """
    ends = sorted({done_at for _, done_at in waits if since < done_at < until} | {until})
    longest, previous = 0.0, since
    arrivals = sorted(waits)
    open_waits: list[tuple[float, float]] = []
    for end in ends:
        while arrivals and arrivals[0][0] < end:
            open_waits.append(arrivals.pop(0))
        open_waits = [(acked_at, done_at) for acked_at, done_at in open_waits if done_at >= end]
        if open_waits:
            longest = max(longest, end - max(previous, open_waits[0][0]))
        previous = end
    return longest


def _name(key: Key) -> str:
    return f"{key.room}#{key.number}"


def _call(call: Call, explanations: Explanations) -> str:
    began = f"from {explanations.since(call.began_at)}"
    if call.ended_at is not None:
        rest = f" to {explanations.since(call.ended_at)}"
    elif call.cancelled_at is not None:
        rest = f", cancelled at {explanations.since(call.cancelled_at)}"
    else:
        rest = ", never ended"
    return f"[{explanations.name_of(call.pid)} pid {call.pid} attempt {call.attempt} {began}{rest}]"
