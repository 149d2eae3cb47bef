"""What is promised, checked after each step, and the standstill of the end."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hookline import Poisoned
from hookline.schemas.broker import Again, Done, Parked
from hookline.schemas.copies import copy_of
from hookline.schemas.dead_letters import EVENTS
from hookline.schemas.envelope import ID_HEADER
from hookline.schemas.leases import LEASE_S, MAX_STEP_S
from hookline.workers.attempts import is_surplus, used_attempts
from hookline.workers.work import Work
from tests.simulation.broker_server import CopyWatch, Message
from tests.simulation.faults import HAS_NO_STORE, MAY_LOSE_ITS_LEASE
from tests.simulation.model_broker import TIMEOUT_S
from tests.simulation.processes import ATTEMPTS, QUEUE, Process, timeout_s
from tests.simulation.schedules import FaultKind, PlannedEvent
from tests.simulation.store_server import HeldClaim, Key, Watch

if TYPE_CHECKING:
    from tests.simulation.world import World

_TOLERANCE_S = 0.5
_LOSES_CONFIRMS: frozenset[FaultKind] = frozenset({"cut from broker", "broker restart", "broker trouble"})
_INTERRUPTS_A_SETTLEMENT: frozenset[FaultKind] = _LOSES_CONFIRMS | {
    "freeze",
    "freeze at a copy",
    "store forgets",
    "cut from store",
}
_HIDES_ATTEMPTS: frozenset[FaultKind] = frozenset({"store outage", "store trouble", "store forgets", "cut from store"})
_ARRIVES_LATE_S = 2 * TIMEOUT_S
"""A message may be in its queue so long after it was sent."""
_TRIED = frozenset({"failed", "timeout", "retry"})
RECENT_S = 40.0


class Broken(Exception):
    """A promise was not kept. `rule` names it."""

    def __init__(self, rule: str, detail: str) -> None:
        super().__init__(f"{rule}: {detail}")
        self.rule = rule


@dataclass(eq=False, slots=True)
class Call:
    """One call of the function. `number` counts the calls for the event."""

    process: Process
    plan: PlannedEvent
    number: int
    started_s: float
    ended_s: float | None = None
    has_returned: bool = False
    waits_for_others: bool = True
    has_failed: bool = False
    is_noted: bool = False


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """The dead letter of an event, by the process that has parked it."""

    owner: str
    parked_s: float


class Checker(Watch, CopyWatch):
    """Ends the run at the first step that breaks a promise. Raises nothing: the code under test would catch it."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._calls: dict[str, list[Call]] = {}
        self._failures: Counter[str] = Counter()
        self._ended: dict[str, str] = {}
        self._open: dict[str, list[Call]] = {}
        self._settled: set[int] = set()
        self._renewed_s: dict[str, float] = {}
        self._taken_over: dict[str, list[tuple[float, str]]] = {}
        self._forgotten: dict[str, float] = {}
        self._kills: Counter[str] = Counter()
        self._deleted: set[str] = set()
        self._noted: set[str] = set()
        self._tried: dict[str, int] = {}
        self._counted: Counter[str] = Counter()
        self._dead: dict[str, DeadLetter] = {}
        self._newest_s: dict[tuple[str, str], float | None] = {}

    @property
    def ended(self) -> Mapping[str, str]:
        """How each event ended that has: `returned`, or the reason for which it was parked."""
        return self._ended

    # Calls

    def called(self, process: Process, plan: PlannedEvent, attempt: int, copy: int) -> Call:
        self._note(f"{process.name} calls {plan.id}, attempt {attempt}, copy {copy}")
        if copy < self._tried.get(plan.id, 0):
            self._break("an attempt is made once", f"{plan.id} is called by {process.name} as copy {copy}")
        self._check_attempt(plan, attempt)
        if plan.id in self._noted:
            self._break("what has ended is not called again", plan.id)
        self._check_calls(process, plan)
        earlier = self._calls.setdefault(plan.id, [])
        for call in earlier:
            self._check_second_call(call, process)
        if self._world.schedule.mode == "ordered":
            self._check_order(process, plan)
        if self._world.schedule.latest_only:
            self._check_latest(process, plan)
        call = Call(process, plan, len(earlier) + 1, self._world.now_s)
        earlier.append(call)
        self._open.setdefault(self._world.subjects[plan.id], []).append(call)
        return call

    def returned(self, call: Call) -> None:
        self._note(f"{call.process.name} returns from {call.plan.id}")
        call.has_returned = True
        self._end(call)
        if self._world.schedule.has_two_applications:
            self._world.disturbed()
        if self._world.schedule.mode != "transactional":
            self._ended.setdefault(call.plan.id, "returned")

    def failed(self, call: Call, error: Exception) -> None:
        self._note(f"{call.process.name} fails at {call.plan.id}: {error!r}")
        self._end(call)
        is_one_of_several = len(self._world.together_with(call.plan.id)) > 1  # then the store counts what is parked
        if isinstance(error, ValueError) or (isinstance(error, Poisoned) and is_one_of_several):
            self._failures[call.plan.id] += 1
            call.has_failed = self._world.schedule.mode != "transactional"

    def cut_off(self, call: Call) -> None:
        """Cancelled: its time is over, or its process leaves. A wait for others' locks is no fault of the function.

        Nor is the time in which the process stood still, except for half a second.
        """
        self._note(f"{call.process.name} is cut off at {call.plan.id}")
        self._end(call)
        took_s = self._world.now_s - call.started_s - self._world.stood_still_s(call.process, call.started_s)
        if took_s < timeout_s(self._world.schedule.mode) - _TOLERANCE_S:
            self._check_cut_off(call)
        else:
            self._failures[call.plan.id] += not call.waits_for_others

    def died(self, plan: PlannedEvent) -> None:
        """Promise 6. What is parked starts anew, if the broker has it twice."""
        self._kills[plan.id] += 1
        if self._kills[plan.id] > 2 + ATTEMPTS + 2 * self._world.forgot:
            self._break("poison events end", f"{plan.id} has killed {self._kills[plan.id]} processes")

    # Outcomes

    def settled(self, process: Process, _queue: str, settled: Sequence[tuple[Work, float]]) -> None:
        for work, _ in settled:
            self._check_settled(process, work)

    def _check_settled(self, process: Process, work: Work) -> None:
        outcome = work.outcome
        ids = [event.id for event in work.events]
        self._note(f"{process.name} settles {','.join(ids) or (work.envelope and work.envelope.id)}: {outcome!r:.90}")
        tag: int = work.received.token.tag
        if tag in self._settled:
            self._break("one outcome per delivery", f"{ids} in {process.name}")
        match outcome:
            case Done():
                self._settled.add(tag)
                self._check_done(process, work, outcome)
            case Parked():
                self._settled.add(tag)
                self._check_parked(work, outcome)
            case Again(reason="failed"):
                self._has_failed(process, ids)
            case Again():
                pass

    def _has_failed(self, process: Process, ids: Sequence[str]) -> None:
        """The function is to blame, and not the connection on which its transaction was rolled back."""
        for event_id in ids if self._world.schedule.mode == "transactional" else ():
            latest = [call for call in self._calls[event_id] if call.process is process][-1]
            latest.has_failed = True

    def _check_done(self, process: Process, work: Work, outcome: Done) -> None:
        """Promise 2."""
        if not work.events and outcome.reason == "duplicate":
            return  # a repeat of an event that was parked
        if work.envelope is None or not work.events:
            self._break("done only if handled", f"{work.envelope and work.envelope.id} by {process.name}")
            return
        for event in self._world.normalise(work.envelope):
            self._check_done_event(process, event.id, outcome, work.received.token.message)

    def _check_done_event(self, process: Process, event_id: str, outcome: Done, message: Message) -> None:
        may_repeat = outcome.reason == "duplicate" or len(self._world.together_with(event_id)) > 1
        is_repeat = may_repeat and (event_id in self._ended or self._has_copy(event_id, message))
        if not self._has_ended_well(event_id) and not is_repeat:
            self._break("done only if handled", f"{event_id} as {outcome.reason} by {process.name}")

    def _has_copy(self, event_id: str, message: Message) -> bool:
        """Whether the broker has another message with the event."""
        others = (each for each in self._world.broker_server.messages() if each is not message)
        return any(event_id in each.headers[ID_HEADER].split("+") for each in others)

    def _has_ended_well(self, event_id: str) -> bool:
        """Whether an event that is settled has been handled, or need not be. That is its end then."""
        end = "returned" if self._has_returned(event_id) else "superseded" if self._is_superseded(event_id) else None
        if end is not None:
            self._ended.setdefault(event_id, end)
        return end is not None

    def _check_parked(self, work: Work, outcome: Parked) -> None:
        """Promise 6, and attempts are not used up by faults of others."""
        together = [event.id for event in self._world.normalise(work.envelope)] if work.envelope else []
        ids = outcome.events or together
        for event_id in together:
            is_over = event_id in ids or self._has_ended_well(event_id)
            if not is_over and not self._has_copy(event_id, work.received.token.message):
                self._break("done only if handled", f"{event_id}, which is left out of a dead letter")
        for event_id in ids:
            plan = self._world.plans[event_id]
            if not self._may_be_parked(plan, outcome.reason, is_one_of_several=len(together) > 1):
                self._break("parked only for its own faults", f"{event_id}: {outcome.reason}: {outcome.detail[-300:]}")
            self._ended.setdefault(event_id, outcome.reason)
            del self._kills[event_id]

    def _may_be_parked(self, plan: PlannedEvent, reason: str, *, is_one_of_several: bool) -> bool:
        has_failed = self._failures[plan.id] >= ATTEMPTS
        match reason:
            case "failed" | "timeout":
                return has_failed or (is_one_of_several and plan.act in {"poison", "kill"})
            case "poisoned":
                return plan.act == "poison" or (is_one_of_several and (has_failed or plan.act == "kill"))
            case "crashed":
                return plan.act == "kill" or (is_one_of_several and (has_failed or plan.act == "poison"))
            case _:
                return False

    # The store

    def renewed(self, owner: str) -> None:
        self._renewed_s[owner] = self._world.now_s

    def taken_over(self, key: Key, owner: str, claimant: str) -> None:
        """A lease ends only with its process, or after it was not heard of for long while the store was there."""
        self._note(f"{claimant} takes over {key[1]} from {owner}")
        process, now_s = self._world.process(owner), self._world.now_s
        away_s, times = self._world.store_was_away(self._renewed_s[owner])
        silent_s = now_s - self._renewed_s[owner] - away_s
        if process.is_alive and silent_s + times * MAX_STEP_S < LEASE_S - _TOLERANCE_S:
            self._break("leases end with their process", f"{owner} was heard of {silent_s:.1f} s ago")
        if process.has_stopped and not self._world.was_disturbed(process, HAS_NO_STORE, RECENT_S):
            self._break("a stopped process leaves no claim", f"{key[1]} of {owner}")
        self._taken_over.setdefault(key[1], []).append((now_s, owner))

    def forgot(self, keys: Iterable[Key]) -> None:
        """The server has lost what it knew of these events."""
        for _, event_id in keys:
            self._forgotten[event_id] = self._world.now_s
            self._tried.pop(event_id, None)
            del self._counted[event_id]
            self._dead.pop(event_id, None)
            self._noted.discard(event_id)

    def deleted(self, event_ids: Iterable[str]) -> None:
        """Somebody has deleted the queue with these events."""
        self._deleted.update(event_ids)

    def claimed(self, key: Key, owner: str, newest_s: float | None) -> None:
        self._newest_s[key[1], owner] = newest_s

    def took(self, owner: str, partitions: Collection[str], overdue: Mapping[str, str]) -> None:
        """Where nobody can consume, no live process loses its partitions."""
        self._note(f"{owner} takes {', '.join(sorted(partitions)) or 'no partition'}")
        if overdue and self._world.broker_is_away_for_all:
            partition, holder = min(overdue.items())
            self._break("an outage of the broker moves no partition", f"{owner} takes {partition} of {holder}")

    def noted(self, key: Key, failures: int) -> None:
        """The end of an event is noted once."""
        event_id = key[1]
        self._counted[event_id] += used_attempts(failures)
        for call in self._calls.get(event_id, ())[-1:] if failures else ():
            call.is_noted = call.ended_s is not None
        if used_attempts(failures) != failures:
            if event_id in self._noted:
                self._break("the end of an event is noted once", event_id)
            self._noted.add(event_id)

    def marked(self, key: Key, claim: HeldClaim) -> None:
        if claim.deaths < 2:
            self._break("only what was in flight at two deaths is handled alone", key[1])

    def attempt_noted(self, owner: str) -> None:
        self._world.strike(owner)

    # The broker

    def passed_on(self, owner: str, copy: Message, reason: str) -> None:
        """The store knows of the attempt before, unless it did not answer: no process makes it again."""
        ids, number = copy.headers[ID_HEADER].split("+"), copy_of(copy.headers)
        if reason in _TRIED and len(ids) == 1:
            if self._has_noted(ids[0], number):
                self._tried[ids[0]] = max(number, self._tried.get(ids[0], 0))
            elif not self._world.was_disturbed(self._world.process(owner), _HIDES_ATTEMPTS, RECENT_S):
                self._break("an attempt is noted before its copy is passed on", f"{ids[0]} by {owner}")
        self._world.strike(owner)

    def _has_noted(self, event_id: str, number: int) -> bool:
        claim = self._world.store_server.contents.claims.get((QUEUE, event_id))
        return claim is None or claim.tried >= number  # without a claim it is finished

    def parked(self, owner: str, copy: Message) -> None:
        """An event has a second dead letter only if something struck a process that parked it, in that moment.

        Until the store has noted that the first one is durable, others must park the event, too. The process itself
        publishes it again if the broker does not confirm it. What it sent on a connection that was lost may arrive
        after another process has parked the event.
        """
        for event_id in _ids(copy):
            first = self._dead.setdefault(event_id, DeadLetter(owner, self._world.now_s))
            is_late = self._world.was_disturbed(self._world.process(owner), _LOSES_CONFIRMS, _ARRIVES_LATE_S)
            if first.parked_s != self._world.now_s and not is_late and not self._was_interrupted(event_id, first):
                self._break("one end", f"{event_id} is parked by {owner} after {first.owner}")
        self._world.strike(owner)

    def _was_interrupted(self, event_id: str, first: DeadLetter) -> bool:
        process, since_s = self._world.process(first.owner), self._world.now_s - first.parked_s
        claim = self._world.store_server.contents.claims.get((QUEUE, event_id))
        is_known = claim is not None and is_surplus(claim.tried, claim.copy)
        if is_known:
            return self._world.was_disturbed(process, _LOSES_CONFIRMS, since_s + _ARRIVES_LATE_S)
        has_died = not process.is_alive and not process.has_stopped
        return has_died or self._world.was_disturbed(process, _INTERRUPTS_A_SETTLEMENT, since_s + _ARRIVES_LATE_S)

    # Rules

    def _check_attempt(self, plan: PlannedEvent, attempt: int) -> None:
        if attempt > 1 + self._failures[plan.id]:
            detail = f"{plan.id} is called for attempt {attempt} after {self._failures[plan.id]} failures"
            self._break("attempts are used up by failures only", detail)
        if attempt <= self._counted[plan.id]:
            detail = f"{plan.id} is called for attempt {attempt} after the store has counted {self._counted[plan.id]}"
            self._break("an attempt is made once", detail)

    def _check_calls(self, process: Process, plan: PlannedEvent) -> None:
        """An event fails as often as it may, however many copies of it there are."""
        failed = [
            call
            for call in self._calls.get(plan.id, ())
            if call.has_failed and (self._is_noted(call) or not self._is_excused(call, process))
        ]
        if len(failed) >= ATTEMPTS:
            self._break("one line of attempts", f"{plan.id} is called by {process.name} after {len(failed)} failures")

    def _check_second_call(self, call: Call, process: Process) -> None:
        """Promise 3."""
        is_over = call.ended_s is not None and not call.has_returned
        if is_over or self._is_excused(call, process):
            return
        state = "had returned" if call.has_returned else "runs"
        if self._world.schedule.mode == "transactional" and call.plan.id not in self._ended:
            return  # only a commit counts
        self._break("at most once", f"{call.plan.id} is called by {process.name}, and {state} in {call.process.name}")

    def _check_cut_off(self, call: Call) -> None:
        """A call is cut off before its time only if its process was frozen, cut off from the store, or stops."""
        process = call.process
        if (
            process.is_alive
            and not process.is_stopping
            and not self._world.was_disturbed(process, MAY_LOSE_ITS_LEASE, RECENT_S)
        ):
            self._break("no call is cut off", f"{call.plan.id} in {process.name}")

    def _is_excused(self, call: Call, process: Process) -> bool:
        """Whether its process died or lost its lease after the call began, or the store forgot the call.

        Not if the process that calls now is the one that lost its claim: it knows that it was away for too long.
        """
        started_s = call.started_s
        if not call.process.is_alive and call.ended_s is None:
            return True
        taken = self._taken_over.get(call.plan.id, ())
        if any(taken_s >= started_s and owner != process.name for taken_s, owner in taken):
            return True
        return self._forgotten.get(call.plan.id, 0.0) >= started_s

    def _is_noted(self, call: Call) -> bool:
        return call.is_noted and self._forgotten.get(call.plan.id, 0.0) < call.started_s

    def _check_order(self, process: Process, plan: PlannedEvent) -> None:
        """Promise 3 of ordered workers: one at a time, after all that was published before."""
        subject = self._world.subjects[plan.id]
        for other in self._open.get(subject, ()):
            if other.plan.id == plan.id or other.ended_s is not None or not other.process.is_alive:
                continue
            if other.process is process or not self._world.was_disturbed(other.process, MAY_LOSE_ITS_LEASE, RECENT_S):
                detail = f"{plan.id} is called by {process.name} while {other.plan.id} runs in {other.process.name}"
                self._break("one event of a subject at a time", detail)
        for earlier in self._world.goes_before(plan.id):
            if earlier not in self._ended and earlier not in self._deleted:
                self._break("events of a subject in order", f"{plan.id} is called before {earlier} has ended")

        if self._world.schedule.reorder_s and self._world.is_undisturbed:
            for later in self._world.overtakes(plan.id):
                if later not in self._ended:
                    self._break("events of a subject by their time", f"{plan.id} is called before {later}")

    def _check_latest(self, process: Process, plan: PlannedEvent) -> None:
        """With `latest_only`, no event is called if the process knows that a later one is done."""
        newest_s = self._newest_s.get((plan.id, process.name))
        if newest_s is not None and newest_s > self._world.occurred_s(plan.id):
            self._break("latest only", f"{plan.id} by {process.name}, which was told of a later event")
        for later in self._world.later_events(plan.id):
            for call in self._calls.get(later, ()):
                is_known = call.process is process and call.has_returned and call.ended_s != self._world.now_s
                if is_known and self._world.schedule.mode != "transactional":
                    self._break("latest only", f"{plan.id} after {later} by {process.name}")

    def _is_superseded(self, event_id: str) -> bool:
        """Whether it need not be called, because a later event of its subject is done."""
        later = self._world.later_events(event_id)
        return self._world.schedule.latest_only and any(map(self._has_returned, later))

    def _has_returned(self, event_id: str) -> bool:
        return any(call.has_returned for call in self._calls.get(event_id, ()))

    def _end(self, call: Call) -> None:
        call.ended_s = self._world.now_s
        self._open[self._world.subjects[call.plan.id]].remove(call)

    def _note(self, text: str) -> None:
        self._world.note(text)

    def _break(self, rule: str, detail: str) -> None:
        self._world.is_broken(Broken(rule, detail))

    def check_end(self) -> None:
        """Nothing is lost, and a transaction's effect is there once."""
        parked = self._parked_untold()
        for event_id in self._world.expected:
            if event_id not in self._ended and event_id not in self._deleted and event_id not in parked:
                self._break("nothing is lost", event_id)
        written = Counter(event_id for _, event_id in self._world.store_server.contents.written)
        for event_id, times in written.items():
            if times > 1:
                self._break("exactly once", f"{event_id} was written {times} times")
        if self._world.schedule.mode == "transactional":
            for event_id, end in self._ended.items():
                if end == "returned" and not written[event_id] and not self._is_superseded(event_id):
                    self._break("exactly once", f"{event_id} is done and was not written")

    def _parked_untold(self) -> Collection[str]:
        """Events in dead letters of which no process has told yet: it does once the store has answered."""
        untold = {event_id: message for event_id, message in self._in_dead_letters() if event_id not in self._ended}
        for event_id, message in untold.items():
            plan, reason = self._world.plans[event_id], message.notes["reason"]
            if not self._may_be_parked(plan, reason, is_one_of_several=len(self._world.together_with(event_id)) > 1):
                self._break("parked only for its own faults", f"{event_id}: {reason}")
        return untold.keys()

    def _in_dead_letters(self) -> Iterator[tuple[str, Message]]:
        for message in (each for dead in self._world.broker_server.dead.values() for each in dead):
            for event_id in _ids(message):
                yield event_id, message


def _ids(message: Message) -> Sequence[str]:
    """The events that failed."""
    named = message.notes.get(EVENTS)
    return named.split(",") if named else message.headers[ID_HEADER].split("+")
