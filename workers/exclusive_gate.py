"""Handling many events at a time, or a single one alone: for one whose last process died with it in hand."""

import asyncio
from collections import deque


class ExclusiveGate:
    """One for all workers of a process, since whatever kills the process takes everything in hand with it.

    `async with` it around what is done together: not while something is done alone. Nobody overtakes: who comes after
    one that waits to be alone waits, too.
    """

    def __init__(self) -> None:
        self._together = 0
        self._is_alone = False
        self._waiting: deque[tuple[asyncio.Future[None], bool]] = deque()

    async def __aenter__(self) -> None:
        if self._is_alone or self._waiting:
            await self._wait(alone=False)
        else:
            self._together += 1

    async def __aexit__(self, *_: object) -> None:
        self._together -= 1
        if self._waiting:
            self._let_in()

    async def begin(self) -> None:
        """Be alone, once everything that is in hand has ended; nothing new begins until `end`."""
        if self._is_alone or self._together or self._waiting:
            await self._wait(alone=True)
        else:
            self._is_alone = True

    def end(self) -> None:
        """Be alone no longer."""
        self._is_alone = False
        self._let_in()

    async def _wait(self, *, alone: bool) -> None:
        entered = asyncio.get_running_loop().create_future()
        self._waiting.append((entered, alone))
        try:
            await entered
        except asyncio.CancelledError:
            if entered.cancelled():
                self._let_in()
            elif alone:  # it was let in already
                self.end()
            else:
                await self.__aexit__()
            raise

    def _let_in(self) -> None:
        """Whoever waits, as far as they may come in now."""
        while self._waiting and not self._is_alone:
            entered, alone = self._waiting[0]
            if not entered.cancelled():
                if alone and self._together:
                    return
                self._is_alone, self._together = alone, self._together + (not alone)
                entered.set_result(None)
            self._waiting.popleft()
