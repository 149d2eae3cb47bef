"""How many calls of a worker's function run at a time, while more events are in hand."""

import asyncio
from types import TracebackType


class Places:
    """So many are let in at a time; the others wait their turn, until it is closed.

    `async with` it around a call. Once it is closed, whoever would have to wait is cancelled instead: what has not
    begun by then is better begun elsewhere.
    """

    def __init__(self, count: int) -> None:
        self._free = asyncio.Semaphore(count)
        self._waiting: set[asyncio.Task[None] | None] = set()
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
            if task is not None:
                task.cancel()

    async def _wait(self) -> None:
        if self._is_closed:
            raise asyncio.CancelledError
        task = asyncio.current_task()
        self._waiting.add(task)
        try:
            await self._free.acquire()
        finally:
            self._waiting.discard(task)
