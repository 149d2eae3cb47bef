"""The fair assignment of partitions to processes: one rule for all stores."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from hookline.workers.store import Assignment


def fair_assignment(
    partitions: Sequence[str], holders: Mapping[str, str], members: Collection[str], owner: str
) -> Assignment:
    """The partitions of the member `owner`: those that it holds, and free ones up to its part.

    `holders` maps partitions to owners; a holder that is not a member has died. If the partitions do not divide
    evenly, the members that hold most keep one more, so that a fair assignment does not change.
    """
    names = sorted(set(partitions))
    alive = {partition: holder for partition, holder in holders.items() if holder in members}
    part = _part(len(names), Counter(alive.values()), members, owner)
    mine = [partition for partition in names if alive.get(partition) == owner]
    free = [partition for partition in names if partition not in alive]
    taken = free[: max(0, part - len(mine))]
    return Assignment(frozenset([*mine, *taken]), frozenset(mine[part:]))


def _part(count: int, held: Mapping[str, int], members: Collection[str], owner: str) -> int:
    """The number of partitions for this member. The parts of all members add up to `count`."""
    ranked = sorted(members, key=lambda member: (-held.get(member, 0), member))
    each, more = divmod(count, len(ranked))
    return each + (ranked.index(owner) < more)
