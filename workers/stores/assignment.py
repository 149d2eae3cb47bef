"""The fair division of partitions among processes: the rule that every store follows."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from hookline.workers.store import Assignment


def fair_assignment(
    partitions: Sequence[str], holders: Mapping[str, str], members: Collection[str], owner: str
) -> Assignment:
    """The partitions of `owner`, one of the members: those that it holds, and free ones up to its part.

    `holders` are the owners of partitions; a holder that is no member has died. Where the partitions do not divide
    evenly, the members that hold most keep one more, so that a fair assignment stays as it is.
    """
    names = sorted(set(partitions))
    alive = {partition: holder for partition, holder in holders.items() if holder in members}
    part = _part(len(names), Counter(alive.values()), members, owner)
    mine = [partition for partition in names if alive.get(partition) == owner]
    free = [partition for partition in names if partition not in alive]
    taken = free[: max(0, part - len(mine))]
    return Assignment(frozenset([*mine, *taken]), frozenset(mine[part:]))


def _part(count: int, held: Mapping[str, int], members: Collection[str], owner: str) -> int:
    """How many partitions are this member's: the parts of all members add up to `count`."""
    ranked = sorted(members, key=lambda member: (-held.get(member, 0), member))
    each, more = divmod(count, len(ranked))
    return each + (ranked.index(owner) < more)
