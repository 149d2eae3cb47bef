"""Mends of the consuming side, each taken out by one mutant: the simulation has to find every one of them.

Each mutant replaces something of the real code by what was there before, or by what a careless change would make of it.
mypy compares the two, so that a mutant that no longer fits is noticed.
"""
# ruff: noqa: SLF001  a mutant replaces what is private, too

import asyncio
import math
import sys
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from msgspec.structs import replace

from hookline.aio.deadlines import Deadlines
from hookline.schemas import leases, topics
from hookline.schemas.broker import Again, Outcome, Parked, Queue, Received
from hookline.schemas.envelope import Envelope
from hookline.schemas.errors import Unreachable
from hookline.workers import attempts, failed_attempts, failure_policy, partitions, pipeline, store, unwanted
from hookline.workers.api import Backoff
from hookline.workers.attempts import copy_number, next_number
from hookline.workers.failed_attempts import FailedAttempts
from hookline.workers.guarded_calls import GuardedCalls
from hookline.workers.held_claims import HeldClaims
from hookline.workers.ordered_pool import OrderedPool
from hookline.workers.partitions import Partitions
from hookline.workers.pipeline import Pipeline
from hookline.workers.siblings import Siblings, combined
from hookline.workers.store import Acquired, Claim
from hookline.workers.stores import assignment
from hookline.workers.stores.assignment import QueueState
from hookline.workers.stores.claim_coalescer import ClaimCoalescer, ClaimRelease, Completion
from hookline.workers.stores.postgresql import store as postgresql_store
from hookline.workers.stores.postgresql import transaction
from hookline.workers.stores.postgresql.pool import Connection
from hookline.workers.subject_queues import Slot, SubjectQueues
from hookline.workers.subject_watermark import SubjectWatermark
from hookline.workers.unwanted import MAX_DELAY_S, Unwanted, UnwantedDeliveries
from hookline.workers.work import HANDLED, Case, Ending, Held, Work
from tests.simulation import store_server


def settle_unwanted_events() -> None:
    """A delivery of a type that this process does not want is settled as handled."""

    def settle(self: UnwantedDeliveries, envelope: Envelope, received: Received) -> Outcome:
        return HANDLED

    UnwantedDeliveries.outcome = settle  # type: ignore[method-assign]


def revoke_once() -> None:
    """A partition whose revocation failed is reported as consumed, and never revoked again."""

    async def nothing(self: Partitions, partitions: Collection[str]) -> None:
        pass

    def everything(self: Partitions) -> Collection[str]:
        return topics.PARTITION_WORDS

    Partitions._revoke_all = nothing  # type: ignore[method-assign]
    Partitions._consuming = everything  # type: ignore[method-assign]


def name_claims_for_ever() -> None:
    """A process goes on naming claims whose answer it did not get, and is refused because of them."""
    claim = ClaimCoalescer.claim

    async def remember(self: ClaimCoalescer, queue: str, event_id: str, subject: str | None = None) -> Claim:
        self._uncertain.clear()
        try:
            return await claim(self, queue, event_id, subject)
        except BaseException:
            self._named[queue][event_id] = self._last_number
            raise

    async def release(
        self: ClaimCoalescer, queue: str, event_id: str, *, failures: int = 0, copy: int = 0, tried: int = 0
    ) -> None:
        await self._release(ClaimRelease(queue, event_id, failures, copy, self._last_number, tried))
        self._named[queue].pop(event_id, None)

    ClaimCoalescer.claim = remember  # type: ignore[method-assign]
    ClaimCoalescer.release = release  # type: ignore[method-assign]


def suspect_after_one_death() -> None:
    """Whatever was in flight when a process died is handled alone."""
    store._SUSPECT_DEATHS = 1


def keep_partitions_without_the_store() -> None:
    """A process that cannot reach the store keeps its partitions."""
    partitions.ALONE_S = math.inf


def judge_leases_by_the_clock() -> None:
    """The lease clock advances by as much as the server's clock."""
    leases.MAX_STEP_S = math.inf


def one_end_for_all_members() -> None:
    """The first member of a callback that fails keeps the others from being handled."""

    async def until_one_fails(
        self: Siblings, cases: Sequence[Case], received: Received, handle: Callable[[Case], Awaitable[Ending]]
    ) -> Ending:
        endings = []
        for case in cases:
            endings.append(await handle(case))
            if isinstance(endings[-1].outcome, Again):
                return endings[-1]
        return combined([case.event for case in cases], endings, received.attempt)

    Siblings.end = until_one_fails  # type: ignore[method-assign]


def wait_for_locks_without_end() -> None:
    """A function's transaction has no limits: it waits for the locks of a process that was frozen."""
    transaction._LIMITS = "SET LOCAL lock_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0"


def blame_functions_for_the_server() -> None:
    """An error of the server in a function's transaction counts as a failure of the function."""

    @contextmanager
    def no_judgement(connection: Connection) -> Iterator[None]:
        yield

    postgresql_store.faults_of_others = no_judgement  # type: ignore[attr-defined]


def count_faults_of_the_store() -> None:
    """An unreachable store uses up an attempt of the event."""
    policy = failure_policy.failure_policy

    def strict(
        error: Exception, retry: Backoff, attempt: int, age_s: float, chance: float, *, last: bool = False
    ) -> Outcome:
        outcome = policy(error, retry, attempt, age_s, chance, last=last)
        if isinstance(error, Unreachable):
            return failure_policy._failed(error, retry, attempt, age_s, chance, last=last)
        return outcome

    failed_attempts.failure_policy = strict  # type: ignore[attr-defined]


def settle_before_handling() -> None:
    """A delivery is settled at once, and handled in the background."""
    take, tasks = Pipeline.take, list[asyncio.Task[Work]]()

    async def early(self: Pipeline, received: Received, *, last: bool = False) -> Work:
        tasks.append(asyncio.ensure_future(take(self, received, last=last)))
        return Work(received, None, (), HANDLED)

    def none(self: Pipeline, received: Received, *, last: bool = False) -> None:
        pass

    Pipeline.take = early  # type: ignore[method-assign]
    Pipeline.ordinary = none  # type: ignore[method-assign]


def forget_what_was_handled() -> None:
    """Every repeat counts as new."""

    async def new(self: ClaimCoalescer, queue: str, event_id: str, subject: str | None = None) -> Claim:
        return Acquired()

    async def all_new(
        self: ClaimCoalescer, queue: str, events: Sequence[tuple[str, str | None]]
    ) -> Sequence[Claim | Exception]:
        return [Acquired()] * len(events)

    ClaimCoalescer.claim = new  # type: ignore[method-assign]
    ClaimCoalescer.claim_all = all_new  # type: ignore[method-assign]


def handle_a_room_concurrently() -> None:
    """An ordered worker does not know the subject of any event."""
    add = SubjectQueues.add

    def without_subject(self: SubjectQueues[Any], item: Any, **facts: Any) -> None:
        add(self, item, **{**facts, "subject": None})

    SubjectQueues.add = without_subject  # type: ignore[method-assign]


def go_on_after_a_failure() -> None:
    """An event that failed is tried again behind the others of its subject."""
    again = SubjectQueues.again

    def behind(
        self: SubjectQueues[Any], slot: Slot[Any], delay_s: float, now_s: float, *, was_tried: bool = True
    ) -> float:
        delay_s = again(self, slot, delay_s, now_s, was_tried=was_tried)
        slot.queue.waiting.rotate(-1)
        return delay_s

    SubjectQueues.again = behind  # type: ignore[method-assign]


def cut_off_calls_of_surplus_partitions() -> None:
    """A partition that another process waits for is left at once: its calls are cancelled."""
    leave = OrderedPool._leave_partition

    async def at_once(self: OrderedPool, partition: str, lost: bool) -> None:  # noqa: FBT001  as it is called
        await leave(self, partition, lost or True)

    OrderedPool._leave_partition = at_once  # type: ignore[method-assign]


def keep_claims_of_cancelled_deliveries() -> None:
    """A call that is cancelled when its process stops leaves its claim behind."""

    async def nothing(self: HeldClaims, case: Case, failures: int = 0) -> None:
        pass

    HeldClaims.release = nothing  # type: ignore[method-assign]


def lose_completions() -> None:
    """A completion that failed is not tried again."""

    async def nothing(self: ClaimCoalescer, completion: Completion) -> None:
        pass

    ClaimCoalescer._retry = nothing  # type: ignore[method-assign]


def count_the_end_of_a_member_again() -> None:
    """The end of a member is noted again with each repeat of its callback."""
    failures = FailedAttempts._failures

    def count(self: FailedAttempts, case: Case, outcome: Outcome, error: Exception) -> int:
        return failures(self, case, outcome, Exception())

    FailedAttempts._failures = count  # type: ignore[method-assign]
    failed_attempts._NOTED = ()  # type: ignore[assignment]


def keep_the_end_of_a_member_here() -> None:
    """Other processes do not ask the store whether a member was parked, and call it again."""

    def unknown(claim: Acquired, attempt: int) -> Parked | None:
        return None

    attempts.noted_end = pipeline.noted_end = unknown  # type: ignore[attr-defined]


def count_attempts_by_message() -> None:
    """Each copy of an event has a line of attempts of its own, which only its messages count."""

    async def begin(self: Pipeline, case: Case, claim: Acquired) -> Ending:
        return await self._begin(case, Acquired(claim.deaths, claim.crashes, newest_s=claim.newest_s))

    Pipeline._go_on = begin  # type: ignore[method-assign]


def call_surplus_copies() -> None:
    """A message is handled again though a copy of it was passed on."""

    def never(number: int, noted: int) -> bool:
        return False

    unwanted.is_surplus = pipeline.is_surplus = never  # type: ignore[attr-defined]


def release_before_settling() -> None:
    """The claim on an event is given up before a copy of it is passed on."""
    settle = Pipeline.settle

    async def early(self: Pipeline, queue: Queue, work: Work, settled: Callable[[], None]) -> None:
        await self.let_go(work)
        await settle(self, queue, replace(work, held=()), settled)

    Pipeline.settle = early  # type: ignore[method-assign]


def note_attempts_late() -> None:
    """The store learns of an attempt when its claim is released, after a copy is passed on."""

    async def unknown(self: HeldClaims, case: Case, failures: int) -> Held | None:
        return Held(case.key, failures, next_number(copy_number(case.received.headers)))

    HeldClaims.note_attempt = unknown  # type: ignore[method-assign]


def call_what_was_tried() -> None:
    """A message whose attempt was noted is handled again if no copy of it was passed on."""

    def never(number: int, tried: int) -> bool:
        return False

    pipeline.was_tried = never  # type: ignore[attr-defined]


def begin_transactions_with_the_claim_of_before() -> None:
    """Whether a process has its claim still is not looked at after the transaction has begun."""

    async def call(self: GuardedCalls, case: Case, *, late: bool, transaction: Any = None) -> None:
        await self._handler.call(case, late=late, transaction=transaction)

    GuardedCalls._call_if_held = call  # type: ignore[method-assign]


def settle_unwanted_members() -> None:
    """A callback is settled once the members that this process wants are handled."""

    async def ended(self: UnwantedDeliveries, case: Case) -> Ending | None:
        return Ending(HANDLED, case.attempt)

    UnwantedDeliveries.ended_elsewhere = ended  # type: ignore[method-assign]


def call_without_the_lease() -> None:
    """A process that was frozen calls the function for what it had claimed before."""

    def always(self: ClaimCoalescer, queue: str, event_id: str) -> bool:
        return True

    ClaimCoalescer.holds = always  # type: ignore[method-assign]


def count_pauses() -> None:
    """The time-out of a function counts the time in which its process stood still."""
    Deadlines.__init__.__defaults__ = (math.inf,)


def never_decline() -> None:
    """A process keeps a partition whose first event it does not want."""

    def nothing(self: Partitions, partition: str) -> None:
        pass

    Partitions.decline = nothing  # type: ignore[method-assign]


def decline_for_ever() -> None:
    """A process that has declined a partition never wants it again, also if all others have."""

    def for_ever(state: QueueState, members: Collection[str]) -> set[tuple[str, str]]:
        return {key for key in state.declined if key[1] in members}

    assignment._declined = for_ever
    store_server.DECLINED_S = math.inf  # type: ignore[attr-defined]


def blame_the_first_to_fall_silent() -> None:
    """A partition counts as not consumed as soon as others were reported a moment later."""
    assignment.BROKER_AWAY_S = leases.LEASE_S


def put_back_ever_later() -> None:
    """A delivery that is not wanted here returns the later, the longer it has waited."""

    def late(self: Unwanted, now_s: float) -> float:
        return MAX_DELAY_S

    Unwanted._turn_after_s = late  # type: ignore[method-assign]


def call_what_is_superseded() -> None:
    """A worker with `latest_only` is called for events that are late."""

    def never(self: SubjectWatermark, claim: Acquired, subject: str | None, occurred_s: float) -> bool:
        return False

    SubjectWatermark.is_late = never  # type: ignore[method-assign]


def hold_nothing_back() -> None:
    """`reorder_s` does nothing."""
    add = SubjectQueues.add

    def at_once(self: SubjectQueues[Any], item: Any, **facts: Any) -> None:
        self._reorder_s = 0.0
        add(self, item, **facts)

    SubjectQueues.add = at_once  # type: ignore[method-assign]


def free_newer_claims() -> None:
    """A release that is carried out late gives up whatever claim its process has on the event by then."""

    def newest(self: ClaimCoalescer, queue: str, event_id: str) -> int:
        return sys.maxsize

    ClaimCoalescer.number = newest  # type: ignore[method-assign]


@dataclass(frozen=True, slots=True)
class Mutant:
    """`seeds` is a range in which it is found. `fault` says what users saw."""

    plant: Callable[[], None]
    seeds: tuple[int, int]
    fault: str


MUTANTS: Mapping[str, Mutant] = {
    "settle-unwanted": Mutant(settle_unwanted_events, (0, 100), "a rolling deploy loses events"),
    "revoke-once": Mutant(revoke_once, (200, 1500), "a partition that nobody consumes"),
    "name-claims-for-ever": Mutant(name_claims_for_ever, (0, 1500), "a claim that its holder does not know of"),
    "suspect-after-one-death": Mutant(suspect_after_one_death, (0, 1500), "after a kill all is handled alone"),
    "keep-partitions": Mutant(
        keep_partitions_without_the_store, (270, 300), "a process without the store keeps events"
    ),
    "judge-leases-by-the-clock": Mutant(
        judge_leases_by_the_clock, (0, 2500), "an outage or a clock's jump ends leases"
    ),
    "cut-off-calls": Mutant(cut_off_calls_of_surplus_partitions, (0, 130), "calls are cut off though nothing died"),
    "one-end-for-all-members": Mutant(one_end_for_all_members, (0, 90), "one bad member harms the others"),
    "wait-for-locks": Mutant(wait_for_locks_without_end, (220, 230), "a frozen process uses up others' attempts"),
    "blame-functions": Mutant(blame_functions_for_the_server, (0, 60), "a fault of PostgreSQL uses up attempts"),
    "count-faults-of-the-store": Mutant(count_faults_of_the_store, (0, 30), "an unreachable store uses up attempts"),
    "settle-before-handling": Mutant(settle_before_handling, (0, 10), "a kill loses events"),
    "forget-what-was-handled": Mutant(forget_what_was_handled, (0, 20), "a repeat is handled again"),
    "handle-a-room-concurrently": Mutant(handle_a_room_concurrently, (0, 20), "a room's events at the same time"),
    "go-on-after-a-failure": Mutant(go_on_after_a_failure, (0, 20), "an event that failed is overtaken"),
    "keep-claims": Mutant(keep_claims_of_cancelled_deliveries, (0, 20), "an event that failed is blocked"),
    "lose-completions": Mutant(lose_completions, (63698, 63698), "a completion that failed is never written"),
    "count-the-end-again": Mutant(count_the_end_of_a_member_again, (60, 100), "attempts that nobody made"),
    "keep-the-end": Mutant(keep_the_end_of_a_member_here, (0, 100), "a poisonous member is called in each process"),
    "settle-unwanted-members": Mutant(settle_unwanted_members, (50, 60), "a deploy loses a part of a callback"),
    "call-without-the-lease": Mutant(call_without_the_lease, (1350, 2500), "an event is handled by two processes"),
    "count-pauses": Mutant(count_pauses, (250, 260), "a frozen process uses up attempts"),
    "never-decline": Mutant(never_decline, (90, 300), "a subject waits for a process that never gets it"),
    "decline-for-ever": Mutant(decline_for_ever, (90, 300), "a partition stays where its events are not wanted"),
    "blame-the-first": Mutant(blame_the_first_to_fall_silent, (515, 520), "an outage of RabbitMQ moves partitions"),
    "put-back-ever-later": Mutant(put_back_ever_later, (32098, 32098), "an event misses the process that wants it"),
    "call-what-is-superseded": Mutant(call_what_is_superseded, (0, 60), "an old state overwrites a new one"),
    "free-newer-claims": Mutant(free_newer_claims, (4020, 4025), "one failure is counted twice"),
    "count-by-message": Mutant(count_attempts_by_message, (0, 300), "a lost settlement doubles the attempts"),
    "call-surplus-copies": Mutant(call_surplus_copies, (74, 74), "an event has two dead letters"),
    "note-attempts-late": Mutant(note_attempts_late, (0, 40), "a kill makes an attempt twice"),
    "call-what-was-tried": Mutant(call_what_was_tried, (1085, 1085), "a kill makes an attempt twice"),
    "begin-with-an-old-claim": Mutant(
        begin_transactions_with_the_claim_of_before, (4987, 4987), "a frozen process handles an event again"
    ),
    "release-before-settling": Mutant(release_before_settling, (0, 3000), "an event has two dead letters"),
    "hold-nothing-back": Mutant(hold_nothing_back, (0, 70), "events that came late are handled late"),
}
"""After a change that moves schedules, `python -m tests.simulation --mutant NAME --seeds 0-3000` finds another seed."""
