"""The store in Redis: for workers on several machines."""

import time
from collections.abc import Collection, Sequence
from functools import lru_cache

import msgspec
from msgspec.structs import replace

from hookline.schemas.errors import Unreachable
from hookline.workers.store import Acquired, Assignment, Claim, Duplicate, LeasedElsewhere
from hookline.workers.stores.claim_coalescer import (
    CLAIM_LOST,
    ClaimCoalescer,
    ClaimRelease,
    ClaimRequest,
    Completion,
    EventRequest,
)
from hookline.workers.stores.heartbeat import Heartbeat
from hookline.workers.stores.redis import scripts
from hookline.workers.stores.redis.client import Client
from hookline.workers.stores.redis.partitions import RedisPartitions
from hookline.workers.stores.subject_key import subject_key

TTL_S = 7 * 24 * 3600.0
TIMEOUT_S = 5.0
_GROUPS = 2  # in PostgreSQL a second group does not pay


class RedisStore:
    """Implements `Store`. Completion records are kept for `ttl_s`, as far as the server keeps them.

    If the server evicts keys when it is full, or loses its last seconds in a crash, events are handled again.
    """

    def __init__(self, client: Client, ttl_s: float, timeout_s: float) -> None:
        self._client = client
        self._heartbeat = Heartbeat(self._beat, client.end)
        self._renewed_at = 0
        self._partitions = RedisPartitions(client)
        self._coalescer = ClaimCoalescer.batching(self._claim, self._finish, self._release, timeout_s, groups=_GROUPS)
        self.claim, self.finish, self.release = self._coalescer.claim, self._coalescer.finish, self._coalescer.release
        self.claim_all, self.finish_all = self._coalescer.claim_all, self._coalescer.finish_all
        self.holds = self._coalescer.holds
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

    @property
    def faults(self) -> list[str]:
        """What is wrong with the store for this process: each a sentence for an operator."""
        return self._heartbeat.faults

    async def close(self) -> None:
        try:
            await self._coalescer.close()
            await self._heartbeat.stop()
        finally:
            await self._client.close()

    async def mark_exclusive(self, queue: str, event_id: str) -> None:
        if not await self._change(scripts.MARK_EXCLUSIVE, queue, event_id):
            raise Unreachable(CLAIM_LOST)

    async def start_anew(self, queue: str, event_id: str, copy: int) -> None:
        if not await self._change(scripts.START_ANEW, queue, event_id, copy):
            raise Unreachable(CLAIM_LOST)

    async def note_attempt(self, queue: str, event_id: str, *, failures: int, tried: int) -> bool:
        return await self._change(scripts.NOTE_ATTEMPT, queue, event_id, failures, tried)

    async def forget(self, queue: str, event_ids: Sequence[str]) -> None:
        keys = [handled_key(queue, event_id) for event_id in event_ids]
        if keys:
            await self._client.run(lambda server: server.delete(*keys))

    async def assign(self, queue: str, partitions: Sequence[str], consuming: Collection[str]) -> Assignment:
        return await self._partitions.assign(queue, partitions, consuming)

    async def revoke(self, queue: str, partition: str) -> None:
        await self._partitions.revoke(queue, partition)

    async def decline(self, queue: str, partition: str) -> None:
        await self._partitions.decline(queue, partition)

    async def _claim(self, requests: list[ClaimRequest]) -> list[Claim]:
        words = [
            word
            for request in requests
            for word in (_name(request), request.ours, _requested_newest(request), request.number)
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
        arguments: list[str | float] = [self._ttl_ms, _json(names), _json(times), self._client.owner]
        await self._client.script(scripts.FINISH, [], arguments)
        return [None] * len(completions)

    async def _change(self, script: str, queue: str, event_id: str, *values: int) -> bool:
        """Change what is noted of a claimed event. Whether this process has the claim still."""
        number = self._coalescer.number(queue, event_id)
        return bool(
            await self._client.script(script, [claim_key(queue, event_id)], [self._client.owner, number, *values])
        )

    async def _release(self, release: ClaimRelease) -> None:
        claim: list[str | float] = [self._client.owner, release.number]
        counted = [release.failures, release.copy]
        await self._client.script(scripts.RELEASE, [], [_name(release), *counted, *claim, release.tried])

    def _beat(self) -> None:
        """Belongs to the heartbeat's thread. The time is read before the claims, so that no newer one is missing."""
        began_s, renewed_at = time.monotonic(), self._renewed_at
        known = [f"{queue}:{event_id}" for queue, event_id in self._coalescer.named()]
        self._renewed_at = self._client.beat(renewed_at, _json(known))
        self._coalescer.renewed(began_s, (self._renewed_at - renewed_at) / 1000)


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
    deaths, crashes, failures, copy, tried = map(int, text.split())
    return Acquired(deaths, crashes, failures, copy=copy, tried=tried)


def handled_key(queue: str, event_id: str) -> str:
    return f"hookline:handled:{queue}:{event_id}"


def claim_key(queue: str, event_id: str) -> str:
    return f"hookline:claim:{queue}:{event_id}"


def _newest_key(queue: str, subject: str) -> str:
    return f"hookline:newest:{queue}:{subject_key(subject)}"
