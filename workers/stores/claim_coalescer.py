"""Claims and marks of a store on a server: asked in groups, and remembered while the server is away."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

import msgspec

from hookline.schemas.errors import Unreachable
from hookline.workers.store import Claim, Seen
from hookline.workers.stores.bounded_dict import Remembered
from hookline.workers.stores.request_batcher import Groups

_MAX_OWED = 500


class Ask(msgspec.Struct, frozen=True, gc=False):
    """A claim that is asked for. `ours`: whatever of it this process holds already, it does not know of."""

    queue: str
    event_id: str
    for_s: float
    subject: str | None
    ours: bool


class Mark(msgspec.Struct, frozen=True, gc=False):
    """What is written of an event that is finished."""

    queue: str
    event_id: str
    subject: str | None
    occurred_s: float

    @property
    def key(self) -> tuple[str, str]:
        return self.queue, self.event_id


class Ledger:
    """`ask` and `mark` do so for a group, in which no key is twice. Both raise Unreachable.

    An answer that did not arrive may have been a yes: asked again, such a claim is not held against ourselves. A mark
    that could not be written is owed: the event counts as finished here, and the mark goes out with the next.
    """

    def __init__(
        self,
        ask: Callable[[list[Ask]], Awaitable[Sequence[Claim]]],
        mark: Callable[[list[Mark]], Awaitable[None]],
        timeout_s: float,
    ) -> None:
        self._mark = mark
        self._asks = Groups(ask, timeout_s)
        self._marks = Groups(self._write, timeout_s)
        self._unsure: Remembered[tuple[str, str], None] = Remembered()
        self._owed: Remembered[tuple[str, str], Mark] = Remembered()

    async def claim(self, queue: str, event_id: str, for_s: float, subject: str | None) -> Claim:
        key = (queue, event_id)
        if key in self._owed:
            await self._marks.ask(key, self._owed[key])
            return Seen()
        try:
            claim = await self._asks.ask(key, Ask(queue, event_id, for_s, subject, key in self._unsure))
        except BaseException:  # a cancelled one was sent too
            self.be_unsure(queue, event_id)
            raise
        self._unsure.pop(key, None)
        return claim

    async def finish(self, mark: Mark) -> None:
        self._unsure.pop(mark.key, None)
        try:
            await self._marks.ask(mark.key, mark)
        except (Unreachable, asyncio.CancelledError):
            self._owed.note(mark.key, mark)
            raise

    def be_unsure(self, queue: str, event_id: str) -> None:
        """Note a claim that this process may hold without knowing: asking for it, or releasing it, failed."""
        self._unsure.note((queue, event_id), None)

    async def close(self) -> None:
        """Write what is owed, and end."""
        await self._asks.close()
        await self._marks.close()
        if self._owed:
            with suppress(Unreachable):
                await self._mark(list(self._owed.values()))

    async def _write(self, marks: list[Mark]) -> list[None]:
        news = {mark.key for mark in marks}
        owed = [mark for key, mark in self._owed.items() if key not in news][:_MAX_OWED]
        await self._mark([*marks, *owed])
        for mark in (*marks, *owed):
            self._owed.pop(mark.key, None)
        return [None] * len(marks)
