"""Claims and marks of a store on a server: asked in groups, and remembered while the server is away."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

import msgspec

from hookline.schemas.errors import Unreachable
from hookline.workers.store import Claim, Duplicate
from hookline.workers.stores.bounded_dict import BoundedDict
from hookline.workers.stores.request_batcher import RequestBatcher

_MAX_PENDING = 500


class ClaimRequest(msgspec.Struct, frozen=True, gc=False):
    """A claim that is asked for. `ours`: whatever of it this process holds already, it does not know of."""

    queue: str
    event_id: str
    for_s: float
    subject: str | None
    ours: bool


class Completion(msgspec.Struct, frozen=True, gc=False):
    """What is written of an event that is finished."""

    queue: str
    event_id: str
    subject: str | None
    occurred_s: float

    @property
    def key(self) -> tuple[str, str]:
        return self.queue, self.event_id


class ClaimCoalescer:
    """`ask` and `mark` do so for a group, in which no key is twice. Both raise Unreachable.

    An answer that did not arrive may have been a yes: asked again, such a claim is not held against ourselves. A mark
    that could not be written is owed: the event counts as finished here, and the mark goes out with the next.
    """

    def __init__(
        self,
        ask: Callable[[list[ClaimRequest]], Awaitable[Sequence[Claim]]],
        mark: Callable[[list[Completion]], Awaitable[None]],
        timeout_s: float,
    ) -> None:
        self._mark = mark
        self._asks = RequestBatcher(ask, timeout_s)
        self._marks = RequestBatcher(self._write, timeout_s)
        self._uncertain: BoundedDict[tuple[str, str], None] = BoundedDict()
        self._pending_completions: BoundedDict[tuple[str, str], Completion] = BoundedDict()

    async def claim(self, queue: str, event_id: str, for_s: float, subject: str | None) -> Claim:
        key = (queue, event_id)
        if key in self._pending_completions:
            await self._marks.ask(key, self._pending_completions[key])
            return Duplicate()
        try:
            claim = await self._asks.ask(key, ClaimRequest(queue, event_id, for_s, subject, key in self._uncertain))
        except BaseException:  # a cancelled one was sent too
            self.mark_uncertain(queue, event_id)
            raise
        self._uncertain.pop(key, None)
        return claim

    async def finish(self, mark: Completion) -> None:
        self._uncertain.pop(mark.key, None)
        try:
            await self._marks.ask(mark.key, mark)
        except (Unreachable, asyncio.CancelledError):
            self._pending_completions.note(mark.key, mark)
            raise

    def mark_uncertain(self, queue: str, event_id: str) -> None:
        """Note a claim that this process may hold without knowing: asking for it, or releasing it, failed."""
        self._uncertain.note((queue, event_id), None)

    async def close(self) -> None:
        """Write what is owed, and end."""
        await self._asks.close()
        await self._marks.close()
        if self._pending_completions:
            with suppress(Unreachable):
                await self._mark(list(self._pending_completions.values()))

    async def _write(self, marks: list[Completion]) -> list[None]:
        news = {mark.key for mark in marks}
        owed = [mark for key, mark in self._pending_completions.items() if key not in news][:_MAX_PENDING]
        await self._mark([*marks, *owed])
        for mark in (*marks, *owed):
            self._pending_completions.pop(mark.key, None)
        return [None] * len(marks)
