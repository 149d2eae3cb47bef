"""Which events each worker has to handle, and which of them it still has not."""

from collections.abc import Iterable, Sequence

from tests.chaos.events import Key, Sent
from tests.chaos.history import Call, Period


def expected(worker: str, sent: Iterable[Sent], left_bound: Sequence[Period]) -> dict[Key, float]:
    """When the provider was told that each event is durable, of those that must reach a worker."""
    return {
        each.key: each.acked_at
        for each in sent
        if each.acked_at is not None
        and (worker != "deploy" or each.type == "joined" or _is_bound(each.first_tried_at, each.acked_at, left_bound))
    }


def handled(worker: str, calls: Iterable[Call]) -> dict[Key, float]:
    """When the first call of each event that a worker has handled ended."""
    ends: dict[Key, float] = {}
    for call in calls:
        if call.worker == worker and call.ended_at is not None:
            ends[call.key] = min(call.ended_at, ends.get(call.key, call.ended_at))
    return ends


def _is_bound(began_at: float, ended_at: float, periods: Sequence[Period]) -> bool:
    """Whether the new version's event was published while the queue was certainly bound to it."""
    return any(period.began_at <= began_at and ended_at <= period.ended_at for period in periods)
