"""Handling many events at a time, or a single one alone: for one whose last process died with it in hand."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Solitude:
    """One for all workers of a process, since whatever kills the process takes everything in hand with it."""

    def __init__(self) -> None:
        self._together = 0
        self._alone = False
        self._changed = asyncio.Condition()

    @asynccontextmanager
    async def together(self) -> AsyncIterator[None]:
        """Not while something is handled alone."""
        if self._alone:
            async with self._changed:
                await self._changed.wait_for(lambda: not self._alone)
        self._together += 1
        try:
            yield
        finally:
            self._together -= 1
            if self._alone:
                async with self._changed:
                    self._changed.notify_all()

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """Not before everything that is in hand has ended; nothing new begins meanwhile."""
        async with self._changed:
            await self._changed.wait_for(lambda: not self._alone)
            self._alone = True
            try:
                await self._changed.wait_for(lambda: self._together == 0)
            except BaseException:
                self._alone = False
                self._changed.notify_all()
                raise
        try:
            yield
        finally:
            async with self._changed:
                self._alone = False
                self._changed.notify_all()
