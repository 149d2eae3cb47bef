"""Waiting for futures no longer than a time that is the same for all: one timer does, since they are due in order."""

import asyncio
from collections import deque
from typing import Any, TypeVar

T = TypeVar("T")


class Deadlines:
    """Belongs to the event loop that runs when it is made."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._loop = asyncio.get_running_loop()
        self._watched: deque[tuple[float, asyncio.Future[Any]]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def watched(self, future: "asyncio.Future[T]") -> "asyncio.Future[T]":
        """The same future, which raises TimeoutError unless it is done in time."""
        while self._watched and self._watched[0][1].done():
            self._watched.popleft()
        due_s = self._loop.time() + self._timeout_s
        self._watched.append((due_s, future))
        if self._timer is None:
            self._timer = self._loop.call_at(due_s, self._expire)
        return future

    async def close(self) -> None:
        """Return once nothing is watched any more."""
        if waiting := [future for _, future in self._watched if not future.done()]:
            await asyncio.wait(waiting)
        if self._timer is not None:
            self._timer.cancel()

    def _expire(self) -> None:
        self._timer = None
        now_s = self._loop.time()
        while self._watched and (self._watched[0][1].done() or self._watched[0][0] <= now_s):
            _, future = self._watched.popleft()
            if not future.done():
                future.set_exception(TimeoutError())
        if self._watched:
            self._timer = self._loop.call_at(self._watched[0][0], self._expire)
