"""Handling many events at a time, or a single one alone: for one whose last process died with it in hand."""

import asyncio
from collections import deque
from contextlib import AbstractAsyncContextManager


class Solitude:
    """One for all workers of a process, since whatever kills the process takes everything in hand with it.

    Nobody overtakes: who comes after one that waits to be alone waits, too.
    """

    def __init__(self) -> None:
        self._together = _Together(self)
        self._inside = 0
        self._is_alone = False
        self._waiting: deque[tuple[asyncio.Future[None], bool]] = deque()

    def together(self) -> AbstractAsyncContextManager[None]:
        """Not while something is handled alone."""
        return self._together

    async def enter(self, *, alone: bool = False) -> None:
        """Return once nobody is alone; `alone`, once everybody has left, and nobody comes in before it leaves."""
        if self._waiting or not self._is_free(alone=alone):
            await self._wait(alone=alone)
        else:
            self._let_in(alone=alone)

    def leave(self) -> None:
        """Whoever entered, alone or together."""
        if self._is_alone:
            self._is_alone = False
        else:
            self._inside -= 1
        self._let_in_who_waits()

    async def _wait(self, *, alone: bool) -> None:
        entered = asyncio.get_running_loop().create_future()
        self._waiting.append((entered, alone))
        try:
            await entered
        except asyncio.CancelledError:
            if entered.cancelled():
                self._let_in_who_waits()
            else:
                self.leave()
            raise

    def _let_in_who_waits(self) -> None:
        while self._waiting:
            entered, alone = self._waiting[0]
            if not entered.done():
                if not self._is_free(alone=alone):
                    return
                self._let_in(alone=alone)
                entered.set_result(None)
            self._waiting.popleft()

    def _is_free(self, *, alone: bool) -> bool:
        return not self._is_alone and not (alone and self._inside)

    def _let_in(self, *, alone: bool) -> None:
        if alone:
            self._is_alone = True
        else:
            self._inside += 1


class _Together:
    """A class, and not a generator, since every event enters and leaves."""

    def __init__(self, solitude: Solitude) -> None:
        self._solitude = solitude

    async def __aenter__(self) -> None:
        await self._solitude.enter()

    async def __aexit__(self, *_: object) -> None:
        self._solitude.leave()
