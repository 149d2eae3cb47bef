"""The claims, completions and releases of one process, kept right while the store fails."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from itertools import islice

import msgspec

from hookline.schemas.errors import Unreachable
from hookline.workers.store import Claim, Duplicate
from hookline.workers.stores.bounded_dict import BoundedDict

_MAX_RETRIES = 500  # at a time


class EventRequest(msgspec.Struct, frozen=True, gc=False):
    """What a queue asks of the store about one event."""

    queue: str
    event_id: str

    @property
    def key(self) -> tuple[str, str]:
        return self.queue, self.event_id


class ClaimRequest(EventRequest, frozen=True, gc=False):
    """A claim to make. With `ours`, a claim that this process already holds on the event is no obstacle."""

    for_s: float
    subject: str | None
    ours: bool


class Completion(EventRequest, frozen=True, gc=False):
    """The record that an event is finished."""

    subject: str | None
    occurred_s: float


class ClaimRelease(EventRequest, frozen=True, gc=False):
    """A claim to give up, whether the event failed, and whether it is parked."""

    failed: bool
    parked: bool


class ClaimCoalescer:
    """The `claim`, `finish` and `release` of a store, which each send one item with a function of the store.

    A failed claim or release is uncertain: the store may have carried it out. The next claim on the event says so, and
    is not refused because of this process's own claim. A failed completion is pending: the event counts as finished
    in this process, and the completion is retried after the next one that succeeds.
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
        self._uncertain: BoundedDict[tuple[str, str], None] = BoundedDict()
        self._pending: BoundedDict[tuple[str, str], Completion] = BoundedDict()
        self._is_retrying = False

    async def claim(self, queue: str, event_id: str, for_s: float, subject: str | None = None) -> Claim:
        """As `Store.claim`."""
        ours = False
        if self._pending or self._uncertain:  # rarely
            if completion := self._pending.get((queue, event_id)):
                await self.finish(queue, event_id, subject=completion.subject, occurred_s=completion.occurred_s)
                return Duplicate()
            ours = (queue, event_id) in self._uncertain
        try:
            claim = await self._claim(ClaimRequest(queue, event_id, for_s, subject, ours))
        except BaseException:  # a cancelled request was sent too
            self._uncertain.note((queue, event_id), None)
            raise
        if ours:
            self._uncertain.pop((queue, event_id), None)
        return claim

    async def finish(self, queue: str, event_id: str, *, subject: str | None = None, occurred_s: float = 0.0) -> None:
        """As `Store.finish`."""
        completion = Completion(queue, event_id, subject, occurred_s)
        try:
            await self._finish(completion)
        except (Unreachable, asyncio.CancelledError):
            self._pending.note(completion.key, completion)
            raise
        if self._uncertain:
            self._uncertain.pop(completion.key, None)
        if self._pending:
            self._pending.pop(completion.key, None)
            await self._retry_some()

    async def release(self, queue: str, event_id: str, *, failed: bool = False, parked: bool = False) -> None:
        """As `Store.release`."""
        try:
            await self._release(ClaimRelease(queue, event_id, failed, parked))
        except BaseException:  # a cancelled release was sent too
            self._uncertain.note((queue, event_id), None)
            raise

    async def close(self) -> None:
        """Retry all pending completions once."""
        await asyncio.gather(*map(self._retry, [*self._pending.values()]))

    async def _retry_some(self) -> None:
        """Retry a bounded number of pending completions, for one caller at a time."""
        if self._is_retrying:
            return
        self._is_retrying = True
        try:
            await asyncio.gather(*map(self._retry, [*islice(self._pending.values(), _MAX_RETRIES)]))
        finally:
            self._is_retrying = False

    async def _retry(self, completion: Completion) -> None:
        with suppress(Unreachable):
            await self._finish(completion)
            self._pending.pop(completion.key, None)
