"""Partitions in Redis: who holds them, and who has declined them. The lease clock counts milliseconds there."""

from collections.abc import Collection, Mapping, Sequence

import msgspec

from hookline.workers.store import Assignment
from hookline.workers.stores.assignment import DECLINED_S, Decision, Holder, QueueState, decide
from hookline.workers.stores.redis import scripts
from hookline.workers.stores.redis.client import Client

_TTL_MS = 7 * 24 * 3600 * 1000


class RedisPartitions:
    """The assignment for one process. What was read may change before it is written, which the script notices."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def assign(self, queue: str, partitions: Sequence[str], consuming: Collection[str]) -> Assignment:
        arguments: list[str | float] = [self._client.owner, _TTL_MS, round(1000 * DECLINED_S)]
        found = await self._client.script(scripts.ASK, _keys(queue), arguments)
        decision = decide(_state(*found), partitions, self._client.owner, consuming)
        mine = decision.assignment.partitions - decision.taken
        if not (decision.taken or decision.reported):
            return decision.assignment
        taken = await self._client.script(scripts.TAKE, _keys(queue), self._changes(decision, found))
        return Assignment(mine.union(taken), decision.assignment.surplus)

    async def revoke(self, queue: str, partition: str) -> None:
        await self._client.script(scripts.REVOKE, [_holders_key(queue)], [partition, self._client.owner])

    async def decline(self, queue: str, partition: str) -> None:
        await self._client.script(scripts.DECLINE, [_declined_key(queue)], [partition, self._client.owner, _TTL_MS])

    def _changes(self, decision: Decision, found: Sequence[Sequence[str]]) -> list[str | float]:
        now, _, holders, reports, _ = found
        holder_of, reported = _pairs(holders), _pairs(reports)
        wanted = [
            word
            for partition in sorted(decision.taken)
            for word in (partition, holder_of.get(partition, ""), reported.get(partition, "0"))
        ]
        overdue = [word for pair in decision.overdue.items() for word in pair]
        lists = [msgspec.json.encode(each).decode() for each in (sorted(decision.reported), wanted, overdue)]
        return [self._client.owner, str(now), _TTL_MS, *lists, str(round(1000 * decision.taken_reported))]


def _state(
    now_ms: int, asked: Sequence[str], holders: Sequence[str], reports: Sequence[str], declined: Sequence[str]
) -> QueueState:
    reported = _pairs(reports)
    return QueueState(
        now=now_ms / 1000,
        asked={owner: int(at) / 1000 for owner, at in _pairs(asked).items()},
        holders={each: Holder(owner, int(reported.get(each, 0)) / 1000) for each, owner in _pairs(holders).items()},
        declined={_partition_and_owner(key): int(at) / 1000 for key, at in _pairs(declined).items()},
    )


def _pairs(found: Sequence[str]) -> Mapping[str, str]:
    return dict(zip(found[::2], found[1::2], strict=True))


def _partition_and_owner(key: str) -> tuple[str, str]:
    partition, _, owner = key.rpartition(" ")
    return partition, owner


def _keys(queue: str) -> list[str]:
    return [f"hookline:asked:{queue}", _holders_key(queue), f"hookline:reports:{queue}", _declined_key(queue)]


def _holders_key(queue: str) -> str:
    return f"hookline:shares:{queue}"


def _declined_key(queue: str) -> str:
    return f"hookline:declined:{queue}"
