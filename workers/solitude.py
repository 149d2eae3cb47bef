"""Handling many events at a time, or a single one alone: for one whose last process died with it in hand."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager


class Solitude:
    """One for all workers of a process, since whatever kills the process takes everything in hand with it."""

    def __init__(self) -> None:
        self._company = _Company()

    def together(self) -> AbstractAsyncContextManager[None]:
        """Not while something is handled alone."""
        return self._company

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """Not before everything that is in hand has ended; nothing new begins meanwhile."""
        company = self._company
        async with company.changed:
            await company.changed.wait_for(lambda: not company.is_sent_out)
            company.is_sent_out = True
            try:
                await company.changed.wait_for(lambda: company.count == 0)
            except BaseException:
                company.is_sent_out = False
                company.changed.notify_all()
                raise
        try:
            yield
        finally:
            async with company.changed:
                company.is_sent_out = False
                company.changed.notify_all()


class _Company:
    """Those who are together. A class, and not a generator, since every event enters and leaves."""

    def __init__(self) -> None:
        self.count = 0
        self.is_sent_out = False
        self.changed = asyncio.Condition()

    async def __aenter__(self) -> None:
        if self.is_sent_out:
            async with self.changed:
                await self.changed.wait_for(lambda: not self.is_sent_out)
        self.count += 1

    async def __aexit__(self, *_: object) -> None:
        self.count -= 1
        if self.is_sent_out:
            async with self.changed:
                self.changed.notify_all()
