"""Claims of an ordered worker that are asked for before the turn of their event.

While a subject has many events, its next event is claimed together with the completion of the one before: the store is
asked once for both. It is one claim more for such a subject.
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeAlias

from hookline.schemas.errors import Unreachable
from hookline.workers.store import Acquired, Claim

Ask: TypeAlias = Callable[[str, str | None], Coroutine[Any, Any, Claim]]
Release: TypeAlias = Callable[[str], Coroutine[Any, Any, None]]


class ClaimsAhead:
    """The claims of one worker, by the names of their events in the store."""

    def __init__(self, ask: Ask, release: Release) -> None:
        self._ask = ask
        self._release = release
        self.asked: dict[str, tuple[str, asyncio.Task[Claim]]] = {}
        """The claims that were asked for and not taken, each with the partition of its event."""

    def ask(self, key: str, subject: str | None, partition: str) -> None:
        """Claim an event of a partition ahead, unless that was asked for before."""
        if key not in self.asked:
            self.asked[key] = partition, asyncio.create_task(self._ask(key, subject))

    def take(self, key: str) -> "asyncio.Task[Claim] | None":
        """The claim on an event whose turn it is; None if it was not asked for ahead."""
        return self.asked.pop(key)[1] if key in self.asked else None

    async def give_back(self, key: str) -> None:
        """Release the claim on an event, if it was asked for ahead and not taken."""
        claiming = self.take(key)
        if claiming is not None:
            with suppress(Unreachable):
                if isinstance(await claiming, Acquired):
                    await self._release(key)

    async def give_back_all(self, partition: str | None = None) -> None:
        """Release what was not taken, of one partition or of all."""
        keys = [key for key, (theirs, _) in self.asked.items() if partition in (None, theirs)]
        await asyncio.gather(*map(self.give_back, keys))
