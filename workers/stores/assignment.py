"""The fair division of shares among processes: the rule that every store follows."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from hookline.workers.store import Held


def divide(shares: Sequence[str], holders: Mapping[str, str], members: Collection[str], owner: str) -> Held:
    """What `owner`, one of the members, shall hold: what it has, and of what is free as much as its part allows.

    `holders` are the owners of shares; a holder that is no member has died. Whoever has most keeps one more where the
    shares do not come out even, so that a division that is fair stays as it is.
    """
    names = sorted(set(shares))
    alive = {share: holder for share, holder in holders.items() if holder in members}
    part = _part(len(names), Counter(alive.values()), members, owner)
    mine = [share for share in names if alive.get(share) == owner]
    free = [share for share in names if share not in alive]
    taken = free[: max(0, part - len(mine))]
    return Held(frozenset([*mine, *taken]), frozenset(mine[part:]))


def _part(count: int, held: Mapping[str, int], members: Collection[str], owner: str) -> int:
    """How many shares are this member's: the parts of all members add up to `count`."""
    ranked = sorted(members, key=lambda member: (-held.get(member, 0), member))
    each, more = divmod(count, len(ranked))
    return each + (ranked.index(owner) < more)
