"""The claims, completions and releases of one process, kept right while the store fails."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from typing import Any, Self

import msgspec

from hookline.schemas.errors import Unreachable
from hookline.workers.bounded_dict import BoundedDict
from hookline.workers.store import Acquired, AlreadyFinished, Claim, Duplicate
from hookline.workers.stores.request_batcher import RequestBatcher

_MAX_RETRIES = 500  # at a time
_MAX_REMEMBERED = 100_000  # of events whose claim or completion the store has not answered
CLAIM_LOST = "this process does not have its claim on the event any more"


class EventRequest(msgspec.Struct, frozen=True, gc=False):
    """What a queue asks of the store about one event."""

    queue: str
    event_id: str

    @property
    def key(self) -> tuple[str, str]:
        return self.queue, self.event_id


class ClaimRequest(EventRequest, frozen=True, gc=False):
    """A claim to make. With `ours`, a claim that this process already holds on the event is no obstacle."""

    subject: str | None
    ours: bool


class Completion(EventRequest, frozen=True, gc=False):
    """The record that an event is finished. It need not be on disk at once if it is not `synced`."""

    subject: str | None
    occurred_s: float
    synced: bool = True


class ClaimRelease(EventRequest, frozen=True, gc=False):
    """A claim to give up, whether the event failed, and whether it is parked."""

    failed: bool
    parked: bool


class ClaimCoalescer:
    """The `claim`, `finish` and `release` of a store, which each send one item with a function of the store.

    A failed claim or release is uncertain: the store may have carried it out. The next claim on the event says so, and
    is not refused because of this process's own claim. A failed release that counts a failure, or ends the counting, is
    repeated before: it changes nothing if the store has carried it out. A failed completion is pending: the event
    counts as finished in this process, which keeps its claim. The completion is retried after the next one that
    succeeds, and after the next heartbeat.

    `named` are the claims that this process makes, holds, or needs for a pending completion. Each heartbeat hands them
    to the store, which frees the others of this process.
    """

    def __init__(
        self,
        claim: Callable[[ClaimRequest], Awaitable[Claim]],
        finish: Callable[[Completion], Awaitable[None]],
        release: Callable[[ClaimRelease], Awaitable[None]],
    ) -> None:
        self._claim = claim
        self._finish = finish
        self._release = release
        self._loop = asyncio.get_running_loop()
        self._named: set[tuple[str, str]] = set()
        self._uncertain: BoundedDict[tuple[str, str], ClaimRelease | None] = BoundedDict(_MAX_REMEMBERED)
        self._pending: BoundedDict[tuple[str, str], Completion] = BoundedDict(_MAX_REMEMBERED)
        self._retrying: asyncio.Task[None] | None = None
        self._batchers: tuple[RequestBatcher[Any, Any], ...] = ()

    @classmethod
    def batching(
        cls,
        claim: Callable[[list[ClaimRequest]], Awaitable[Sequence[Claim]]],
        finish: Callable[[list[Completion]], Awaitable[Sequence[None]]],
        release: Callable[[ClaimRelease], Awaitable[None]],
        timeout_s: float,
    ) -> Self:
        """For a store that takes claims and completions in groups, and may not answer in time."""
        claims, completions = RequestBatcher(claim, timeout_s), RequestBatcher(finish, timeout_s)
        coalescer = cls(claims.ask, completions.ask, release)
        coalescer._batchers = (claims, completions)
        return coalescer

    def named(self) -> list[tuple[str, str]]:
        """The queue and the event of each claim that this process knows of. Any thread may call this."""
        return list(self._named)

    def renewed(self) -> None:
        """Retry pending completions, since the store answers again. Any thread may call this."""
        if self._pending:
            with suppress(RuntimeError):  # the event loop is closed
                self._loop.call_soon_threadsafe(self._retry_soon)

    async def claim(self, queue: str, event_id: str, subject: str | None = None) -> Claim:
        """As `Store.claim`."""
        key, ours = (queue, event_id), False
        if self._pending or self._uncertain:  # rarely
            if completion := self._pending.get(key):
                await self.finish(queue, event_id, subject=completion.subject, occurred_s=completion.occurred_s)
                return Duplicate()
            if release := self._uncertain.get(key):
                await self._release(release)
                self._uncertain.pop(key, None)
            ours = key in self._uncertain
        was_named = key in self._named
        self._named.add(key)  # before the store has it, so that no heartbeat in between frees it
        try:
            claim = await self._claim(ClaimRequest(queue, event_id, subject, ours))
        except BaseException:  # a cancelled request was sent too
            if not was_named:
                self._named.discard(key)
            self._uncertain.note(key, None)
            raise
        if ours:
            self._uncertain.pop(key, None)
        if not was_named and not isinstance(claim, Acquired):
            self._named.discard(key)
        return claim

    async def finish(
        self,
        queue: str,
        event_id: str,
        *,
        subject: str | None = None,
        occurred_s: float = 0.0,
        synced: bool = True,
    ) -> None:
        """As `Store.finish`, or `UnsyncedStore.finish_unsynced`."""
        completion = Completion(queue, event_id, subject, occurred_s, synced)
        try:
            await self._finish(completion)
        except (Unreachable, asyncio.CancelledError):
            forgotten = self._pending.note(completion.key, completion)
            if forgotten is not None:
                self._named.discard(forgotten)
            raise
        self.ended(queue, event_id)
        if self._pending:
            self._pending.pop(completion.key, None)
            await self._retry_some()

    async def release(self, queue: str, event_id: str, *, failed: bool = False, parked: bool = False) -> None:
        """As `Store.release`."""
        release = ClaimRelease(queue, event_id, failed, parked)
        try:
            await self._release(release)
        except BaseException:  # a cancelled release was sent too
            self._uncertain.note(release.key, release if failed or parked else None)
            raise
        finally:
            self._named.discard((queue, event_id))

    @contextmanager
    def ending(self, queue: str, event_id: str) -> Iterator[None]:
        """The block finishes the event in a transaction, or finds it finished. After other errors it is released."""
        try:
            yield
        except AlreadyFinished:
            self.ended(queue, event_id)
            raise
        self.ended(queue, event_id)

    def ended(self, queue: str, event_id: str) -> None:
        """Note that the store has no claim on the event any more."""
        self._named.discard((queue, event_id))
        if self._uncertain:
            self._uncertain.pop((queue, event_id), None)

    async def close(self) -> None:
        """Retry all pending completions once, and send nothing more."""
        if self._retrying is not None:
            await asyncio.wait([self._retrying])
        await asyncio.gather(*map(self._retry, [*self._pending.values()]))
        for batcher in self._batchers:
            await batcher.close()

    async def _retry_some(self) -> None:
        """Retry a bounded number of pending completions, for one caller at a time."""
        if self._retrying is None:
            await asyncio.shield(self._retry_soon())

    def _retry_soon(self) -> "asyncio.Task[None]":
        if self._retrying is None:
            some = [*islice(self._pending.values(), _MAX_RETRIES)]
            self._retrying = asyncio.create_task(self._retry_each(some))
        return self._retrying

    async def _retry_each(self, completions: Sequence[Completion]) -> None:
        try:
            await asyncio.gather(*map(self._retry, completions))
        finally:
            self._retrying = None

    async def _retry(self, completion: Completion) -> None:
        with suppress(Unreachable):
            await self._finish(completion)
            self._pending.pop(completion.key, None)
            self.ended(completion.queue, completion.event_id)
