"""How many calls of a worker's function run at a time, while more events are in hand."""

import asyncio
from collections.abc import Collection
from types import TracebackType
from typing import cast
from weakref import WeakSet


class HandlerLimit:
    """So many are let in at a time; the others wait their turn, until it is closed.

    `async with` it around a call. Once it is closed, whoever would have to wait is cancelled instead: what has not
    begun by then is better begun elsewhere.
    """

    def __init__(self, count: int) -> None:
        self._free = asyncio.Semaphore(count)
        self._waiting: set[asyncio.Task[None]] = set()
        self._turned_away: WeakSet[asyncio.Task[None]] = WeakSet()
        self._is_closed = False

    async def __aenter__(self) -> None:
        if self._free.locked():
            await self._wait()
        else:
            await self._free.acquire()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._free.release()

    def close(self) -> None:
        """Nobody waits any longer."""
        self._is_closed = True
        for task in self._waiting:
            task.cancel()

    def turn_away(self, tasks: Collection["asyncio.Task[None]"]) -> None:
        """Nor do these, now or later."""
        self._turned_away.update(tasks)
        for task in self._waiting.intersection(tasks):
            task.cancel()

    async def _wait(self) -> None:
        task = cast("asyncio.Task[None]", asyncio.current_task())
        if self._is_closed or task in self._turned_away:
            raise asyncio.CancelledError
        self._waiting.add(task)
        try:
            await self._free.acquire()
        finally:
            self._waiting.discard(task)
