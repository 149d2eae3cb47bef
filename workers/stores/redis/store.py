"""The store in Redis: for workers on several machines."""

from collections.abc import Sequence
from functools import lru_cache

import msgspec
from msgspec.structs import replace

from hookline.workers.store import Acquired, Assignment, Claim, Duplicate, LeasedElsewhere
from hookline.workers.stores.assignment import fair_assignment
from hookline.workers.stores.claim_coalescer import ClaimCoalescer, ClaimRelease, ClaimRequest, Completion, EventRequest
from hookline.workers.stores.heartbeat import LEASE_S, Heartbeat
from hookline.workers.stores.redis import scripts
from hookline.workers.stores.redis.client import Client
from hookline.workers.stores.request_batcher import RequestBatcher
from hookline.workers.stores.subject_key import subject_key

TTL_S = 7 * 24 * 3600.0
TIMEOUT_S = 5.0


class RedisStore:
    """Implements `Store`. Completion records are kept for `ttl_s`, as far as the server keeps them.

    If the server evicts keys when it is full, or loses its last seconds in a crash, events are handled again.
    """

    def __init__(self, client: Client, ttl_s: float, timeout_s: float) -> None:
        self._client = client
        self._heartbeat = Heartbeat(client.beat, client.end)
        self._claims = RequestBatcher(self._claim, timeout_s)
        self._completions = RequestBatcher(self._finish, timeout_s)
        self._coalescer = ClaimCoalescer(self._claims.ask, self._completions.ask, self._release)
        self.claim, self.finish, self.release = self._coalescer.claim, self._coalescer.finish, self._coalescer.release
        self._ttl_ms = round(1000 * ttl_s)

    @classmethod
    async def open(cls, url: str, ttl_s: float = TTL_S, timeout_s: float = TIMEOUT_S) -> "RedisStore":
        """Raises Unreachable, or SettingsError for a wrong URL and for keys that a newer version wrote."""
        client = Client(url, timeout_s)
        store = cls(client, ttl_s, timeout_s)
        try:
            await client.check_schema()
            await store._heartbeat.start()
        except BaseException:
            await store.close()
            raise
        return store

    async def close(self) -> None:
        await self._claims.close()
        await self._coalescer.close()
        await self._completions.close()
        await self._heartbeat.stop()
        await self._client.close()

    async def mark_exclusive(self, queue: str, event_id: str) -> None:
        await self._client.script(scripts.MARK_EXCLUSIVE, [_claim_key(queue, event_id)], [])

    async def forget(self, queue: str, event_ids: Sequence[str]) -> None:
        keys = [_handled_key(queue, event_id) for event_id in event_ids]
        if keys:
            await self._client.run(lambda server: server.delete(*keys))

    async def assign(self, queue: str, partitions: Sequence[str]) -> Assignment:
        members, pairs = await self._client.script(
            scripts.JOIN, [_members_key(queue), _partitions_key(queue)], [self._client.owner, round(1000 * LEASE_S)]
        )
        holders = dict(zip(pairs[::2], pairs[1::2], strict=True))
        assignment = fair_assignment(partitions, holders, members, self._client.owner)
        mine = {partition for partition in assignment.partitions if holders.get(partition) == self._client.owner}
        wanted = [
            word
            for partition in sorted(assignment.partitions - mine)
            for word in (partition, holders.get(partition, ""))
        ]
        taken = (
            await self._client.script(scripts.TAKE, [_partitions_key(queue)], [self._client.owner, *wanted])
            if wanted
            else []
        )
        return Assignment(frozenset(mine.union(taken)), assignment.surplus)

    async def revoke(self, queue: str, partition: str) -> None:
        await self._client.script(scripts.REVOKE, [_partitions_key(queue)], [partition, self._client.owner])

    async def _claim(self, requests: list[ClaimRequest]) -> list[Claim]:
        words = [
            word
            for request in requests
            for word in (_name(request), round(1000 * request.for_s), request.ours, _requested_newest(request))
        ]
        answers: str = await self._client.script(scripts.CLAIM, [], [self._client.owner, self._ttl_ms, _json(words)])
        return [_answer(answer) for answer in answers.split(",")]

    async def _finish(self, completions: list[Completion]) -> list[None]:
        newest = {
            _newest_key(each.queue, each.subject): repr(each.occurred_s)
            for each in sorted(completions, key=lambda each: each.occurred_s)
            if each.subject is not None
        }
        names, times = [_name(each) for each in completions], [word for pair in newest.items() for word in pair]
        await self._client.script(scripts.FINISH, [], [self._ttl_ms, _json(names), _json(times)])
        return [None] * len(completions)

    async def _release(self, release: ClaimRelease) -> None:
        arguments: list[str | float] = [int(release.failed), int(release.parked), self._client.owner]
        await self._client.script(scripts.RELEASE, [_claim_key(release.queue, release.event_id)], arguments)


def _name(request: EventRequest) -> str:
    return f"{request.queue}:{request.event_id}"


def _requested_newest(request: ClaimRequest) -> str:
    return "" if request.subject is None else _newest_key(request.queue, request.subject)


def _json(words: Sequence[str | float]) -> str:
    return msgspec.json.encode(words).decode()


def _answer(text: str) -> Claim:
    claim_text, _, newest_s = text.partition("@")
    claim = _claim(claim_text)
    return replace(claim, newest_s=float(newest_s)) if newest_s else claim


@lru_cache(maxsize=256)  # few texts differ: most are of the first claim of an event
def _claim(text: str) -> Claim:
    if text == "d":
        return Duplicate()
    if text == "l":
        return LeasedElsewhere()
    suspect, crashes, failures = map(int, text.split())
    return Acquired(crash_suspect=bool(suspect), crashes=crashes, failures=failures)


def _handled_key(queue: str, event_id: str) -> str:
    return f"hookline:handled:{queue}:{event_id}"


def _claim_key(queue: str, event_id: str) -> str:
    return f"hookline:claim:{queue}:{event_id}"


def _newest_key(queue: str, subject: str) -> str:
    return f"hookline:newest:{queue}:{subject_key(subject)}"


def _members_key(queue: str) -> str:
    return f"hookline:members:{queue}"


def _partitions_key(queue: str) -> str:
    return f"hookline:shares:{queue}"
