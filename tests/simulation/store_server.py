"""The server of the reference store: the rules of the Redis scripts and the PostgreSQL statements, in memory."""

import copy
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace

from hookline.schemas import leases
from hookline.workers.store import Acquired, Claim, Duplicate, LeasedElsewhere
from hookline.workers.stores.assignment import DECLINED_S, Decision, Holder, QueueState
from hookline.workers.stores.claim_coalescer import ClaimRelease, ClaimRequest, Completion
from hookline.workers.stores.subject_key import subject_key

Key = tuple[str, str]


@dataclass(slots=True)
class HeldClaim:
    """A claim as the server has it. Without an owner it only counts."""

    owner: str | None = None
    claimed: float = 0.0
    alone: bool = False
    deaths: int = 0
    crashes: int = 0
    failures: int = 0
    number: int = 0
    copy: int = 0
    tried: int = 0

    @property
    def is_over(self) -> bool:
        return self.owner is None and not (self.deaths or self.crashes or self.failures or self.copy or self.tried)


@dataclass(slots=True)
class Contents:
    """What the server stores. `value` and `at` are the lease clock."""

    value: float = 0.0
    at: float | None = None
    owners: dict[str, float] = field(default_factory=dict)
    claims: dict[Key, HeldClaim] = field(default_factory=dict)
    handled: set[Key] = field(default_factory=set)
    newest: dict[Key, float] = field(default_factory=dict)
    asked: dict[Key, float] = field(default_factory=dict)
    holders: dict[str, dict[str, Holder]] = field(default_factory=dict)
    declined: dict[tuple[str, str, str], float] = field(default_factory=dict)
    written: list[Key] = field(default_factory=list)


class Watch:
    """What tests learn of the server. The default looks at nothing."""

    def renewed(self, owner: str) -> None:
        """A process has renewed its lease."""

    def taken_over(self, key: Key, owner: str, claimant: str) -> None:
        """The lease of a claim's owner had ended."""

    def took(self, owner: str, partitions: Collection[str], overdue: Mapping[str, str]) -> None:
        """A process has taken partitions: free ones, and overdue ones of live processes."""

    def claimed(self, key: Key, owner: str, newest_s: float | None) -> None:
        """A process has claimed an event. `newest_s` is what it learned of the event's subject."""

    def noted(self, key: Key, failures: int) -> None:
        """A process has changed what the server counts of a claimed event, or has given up its claim."""

    def attempt_noted(self, owner: str) -> None:
        """A process has noted an attempt of an event that it has claimed."""

    def marked(self, key: Key, claim: HeldClaim) -> None:
        """A claim is handled exclusively."""


class ModelServer:
    """Each method is one step, as a script or a transaction is. Its clock may jump."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, watch: Watch | None = None) -> None:
        self.contents = Contents()
        self.watch = watch or Watch()
        self.clock_offset_s = 0.0
        self._clock = clock

    def snapshot(self) -> Contents:
        return copy.deepcopy(self.contents)

    def forget_since(self, snapshot: Contents) -> set[Key]:
        """Go back to an earlier state. The events of which something is forgotten."""
        now, self.contents = self.contents, snapshot
        claimed = {key for key, claim in now.claims.items() if claim != snapshot.claims.get(key)}
        return claimed | (now.handled - snapshot.handled)

    def change_clock(self, column: str, seconds: float) -> None:
        """Change the `value` of the lease clock, or the time `at` which it was last advanced."""
        now = self._clock() + self.clock_offset_s
        if column == "value":
            self.contents.value += seconds
        else:
            self.contents.at = (now if self.contents.at is None else self.contents.at) + seconds

    def is_alive(self, owner: str) -> bool:
        contents = self.contents
        seen = contents.owners.get(owner)
        return seen is not None and contents.value - seen <= leases.LEASE_S

    def renew(self, owner: str) -> float:
        contents, now = self.contents, self._clock() + self.clock_offset_s
        step = now - (now if contents.at is None else contents.at)
        contents.value += max(0.0, min(step, leases.MAX_STEP_S))
        contents.at = now
        contents.owners[owner] = contents.value
        self.watch.renewed(owner)
        return contents.value

    def beat(self, owner: str, before: float, known: Collection[Key]) -> float:
        contents, value = self.contents, self.renew(owner)
        for other in [each for each in contents.owners if not self.is_alive(each)]:
            del contents.owners[other]
        if before <= value:
            mine = [(key, claim) for key, claim in contents.claims.items() if claim.owner == owner]
            names = set(known)
            for key, claim in mine:
                if claim.claimed < before and key not in names:
                    self._give_up(key, claim)
        return value

    def end(self, owner: str) -> None:
        self.contents.owners.pop(owner, None)

    def claim(self, owner: str, requests: Sequence[ClaimRequest]) -> list[Claim]:
        return [self._claim(owner, request) for request in requests]

    def finish(self, completions: Iterable[Completion]) -> int:
        """The number of events that were not finished before."""
        contents, before = self.contents, len(self.contents.handled)
        for each in completions:
            contents.handled.add(each.key)
            contents.claims.pop(each.key, None)
            if each.subject is not None:
                subject = (each.queue, subject_key(each.subject))
                contents.newest[subject] = max(each.occurred_s, contents.newest.get(subject, each.occurred_s))
        return len(contents.handled) - before

    def release(self, owner: str, release: ClaimRelease) -> None:
        claim = self.contents.claims.get(release.key)
        if claim is not None and claim.owner == owner and claim.number <= release.number:
            self._note_attempt(release.key, claim, release.failures, release.tried)
            claim.copy = max(claim.copy, release.copy)
            self._give_up(release.key, claim)

    def note_attempt(self, owner: str, key: Key, number: int, failures: int, tried: int) -> bool:
        claim = self.contents.claims.get(key)
        if claim is None or claim.owner != owner or claim.number > number:
            return False
        self._note_attempt(key, claim, failures, tried)
        self.watch.attempt_noted(owner)
        return True

    def start_anew(self, owner: str, key: Key, number: int, copy: int) -> bool:
        claim = self.contents.claims.get(key)
        if claim is None or claim.owner != owner or claim.number > number:
            return False
        claim.deaths = claim.crashes = claim.failures = claim.tried = 0
        claim.copy = copy
        return True

    def mark_exclusive(self, owner: str, key: Key, number: int) -> bool:
        claim = self.contents.claims.get(key)
        if claim is None or claim.owner != owner or claim.number > number:
            return False
        claim.alone = True
        self.watch.marked(key, claim)
        return True

    def forget(self, keys: Iterable[Key]) -> None:
        self.contents.handled.difference_update(keys)

    def ask(self, queue: str, owner: str) -> QueueState:
        """What is known before this process asks. Notes that it asked."""
        contents, value = self.contents, self.renew(owner)
        asked = {each: at for (of, each), at in contents.asked.items() if of == queue and self.is_alive(each)}
        declined = {
            (partition, each): at
            for (of, partition, each), at in contents.declined.items()
            if of == queue and value - at <= DECLINED_S
        }
        contents.asked[queue, owner] = value
        return QueueState(value, asked, dict(contents.holders.get(queue, {})), declined)

    def take(self, queue: str, owner: str, state: QueueState, decision: Decision) -> frozenset[str]:
        """Take partitions whose holder and report have not changed since the process asked."""
        holders = self.contents.holders.setdefault(queue, {})
        for partition in decision.reported & holders.keys():
            holders[partition] = Holder(holders[partition].owner, state.now)
        taken = {each for each in decision.taken if holders.get(each) == state.holders.get(each)}
        for partition in taken:
            holders[partition] = Holder(owner, decision.taken_reported)
        for partition, holder in decision.overdue.items():
            self.contents.declined[queue, partition, holder] = state.now
        if decision.taken:
            self.watch.took(owner, taken, {each: decision.overdue[each] for each in taken & decision.overdue.keys()})
        return frozenset(taken)

    def revoke(self, queue: str, owner: str, partition: str) -> None:
        holders = self.contents.holders.get(queue, {})
        if partition in holders and holders[partition].owner == owner:
            del holders[partition]

    def decline(self, queue: str, owner: str, partition: str) -> None:
        self.contents.declined[queue, partition, owner] = self.contents.value

    def _claim(self, owner: str, request: ClaimRequest) -> Claim:
        contents, key = self.contents, request.key
        if key in contents.handled:
            return Duplicate()
        claim = contents.claims.setdefault(key, HeldClaim())
        is_mine = claim.owner == owner
        if claim.owner is not None:
            is_alive = is_mine or self.is_alive(claim.owner)
            if is_alive and not (is_mine and request.ours):
                return LeasedElsewhere()
            if not is_alive:
                self.watch.taken_over(key, claim.owner, owner)
                claim.deaths += 1
                claim.crashes += claim.alone
        claim.owner, claim.claimed, claim.alone, claim.number = owner, contents.value, False, request.number
        acquired = Acquired(claim.deaths, claim.crashes, claim.failures, copy=claim.copy, tried=claim.tried)
        if request.subject is None:
            return acquired
        newest_s = contents.newest.get((request.queue, subject_key(request.subject)))
        self.watch.claimed(key, owner, newest_s)
        return replace(acquired, newest_s=newest_s)

    def _note_attempt(self, key: Key, claim: HeldClaim, failures: int, tried: int) -> None:
        if not tried or tried > claim.tried:
            self.watch.noted(key, failures)
            claim.failures += failures
        claim.tried = max(claim.tried, tried)

    def _give_up(self, key: Key, claim: HeldClaim) -> None:
        claim.owner, claim.alone = None, False
        if claim.is_over:
            del self.contents.claims[key]
