"""The assignment of partitions to processes: one rule for all stores. All times are by the store's lease clock."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from hookline.schemas.leases import LEASE_S, MAX_STEP_S
from hookline.workers.store import Assignment

DECLINED_S = 60.0
"""How long a process goes without a partition that it has declined, if another process takes it."""
TURN_S = 10.0
"""How long a partition that all processes have declined stays with one of them. Each may want what another does not."""
BROKER_AWAY_S = LEASE_S - MAX_STEP_S
"""If nobody has reported anything for so long, the broker is away for all. Processes report at different moments."""


@dataclass(frozen=True, slots=True)
class Holder:
    """The owner of a partition, and when it last reported that it consumes it."""

    owner: str
    reported: float


@dataclass(frozen=True, slots=True)
class QueueState:
    """What a store knows of the partitions of a queue before a process asks.

    `asked` has the owners that are alive and when each asked last; `declined` has partitions with the owners that have
    declined them, and when.
    """

    now: float
    asked: Mapping[str, float]
    holders: Mapping[str, Holder]
    declined: Mapping[tuple[str, str], float]


@dataclass(frozen=True, slots=True)
class Decision:
    """What a process is assigned, and what the store has to write for it.

    It takes the partitions `taken`, unless their holders or their reports have changed; they count as reported at
    `taken_reported`. `overdue` are those of them that their holders do not consume: the holders are taken to have
    declined them. `reported` are partitions to note as consumed now.
    """

    assignment: Assignment
    taken: frozenset[str]
    taken_reported: float
    overdue: Mapping[str, str]
    reported: frozenset[str]


def decide(state: QueueState, partitions: Sequence[str], owner: str, consuming: Collection[str]) -> Decision:
    """The partitions of `owner`, which asks now and consumes some.

    A process that has not asked for a lease takes no part: its partitions are free. So is a partition that has not been
    reported for a lease while others were. Where none was reported lately, the broker is away for all, and each holder
    gets another lease once it is back. What is taken by a process that consumes nothing does not count as a report.
    """
    members = {member for member, asked in state.asked.items() if state.now - asked <= LEASE_S} | {owner}
    holders = {partition: holder.owner for partition, holder in state.holders.items()}
    mine = frozenset(partition for partition, holder in holders.items() if holder == owner)
    silent = {each for each, holder in state.holders.items() if state.now - holder.reported > LEASE_S}
    overdue: dict[str, str] = {}
    reported = mine.intersection(consuming)
    newest = max((holder.reported for holder in state.holders.values()), default=state.now)
    if state.now - newest > BROKER_AWAY_S:
        reported = frozenset(holders) if consuming else frozenset()
    else:
        overdue = {each: holders[each] for each in silent - mine if holders[each] in members}
    declined = _declined(state, members) | set(overdue.items())
    held = {partition: holder for partition, holder in holders.items() if partition not in overdue}
    assignment = fair_assignment(partitions, held, members, owner, declined)
    taken = assignment.partitions - mine
    taken_reported = state.now if consuming else newest
    return Decision(
        assignment, taken, taken_reported, {each: overdue[each] for each in taken & overdue.keys()}, reported
    )


def _declined(state: QueueState, members: Collection[str]) -> set[tuple[str, str]]:
    """The partitions that members have declined. Where all have, the first of them wants it again after its turn."""
    declined = {key: at for key, at in state.declined.items() if state.now - at <= DECLINED_S and key[1] in members}
    for partition, count in Counter(partition for partition, _ in declined).items():
        refusals = sorted((at, member) for (each, member), at in declined.items() if each == partition)
        if count == len(members) and state.now - refusals[-1][0] > TURN_S:
            del declined[partition, refusals[0][1]]
    return set(declined)


def fair_assignment(
    partitions: Sequence[str],
    holders: Mapping[str, str],
    members: Collection[str],
    owner: str,
    declined: Collection[tuple[str, str]] = (),
) -> Assignment:
    """The partitions of the member `owner`: those that it holds, and free ones up to its part.

    `holders` maps partitions to owners; a holder that is not a member has died. If the partitions do not divide
    evenly, the members that hold most keep one more, so that a fair assignment does not change. A partition that some
    members have declined, and not all, is in no part: one that has not declined it takes it at once when it is free.
    """
    names = sorted(set(partitions))
    alive = {partition: holder for partition, holder in holders.items() if holder in members}
    refusals = Counter(partition for partition, member in declined if member in members)
    given_over = [partition for partition in names if 0 < refusals[partition] < len(members)]
    shared = [partition for partition in names if partition not in given_over]
    part = _part(len(shared), Counter(alive[each] for each in shared if each in alive), members, owner)
    mine = [partition for partition in shared if alive.get(partition) == owner]
    taken = [partition for partition in shared if partition not in alive][: max(0, part - len(mine))]
    mine_beside = [partition for partition in given_over if alive.get(partition) == owner]
    refused = [partition for partition in given_over if (partition, owner) in declined]
    taken += [partition for partition in given_over if partition not in alive and partition not in refused]
    surplus = [*mine[part:], *(partition for partition in mine_beside if partition in refused)]
    return Assignment(frozenset([*mine, *mine_beside, *taken]), frozenset(surplus))


def _part(count: int, held: Mapping[str, int], members: Collection[str], owner: str) -> int:
    """The number of partitions for this member. The parts of all members add up to `count`."""
    ranked = sorted(members, key=lambda member: (-held.get(member, 0), member))
    each, more = divmod(count, len(ranked))
    return each + (ranked.index(owner) < more)
