"""Claims on events that are not completed: they are held until their delivery is settled, or released at once.

The store notes an attempt before a copy of the delivery is passed on: a process that dies in between makes no other.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

from msgspec.structs import replace

from hookline.schemas.broker import Received
from hookline.schemas.errors import Unreachable
from hookline.schemas.observer import NOBODY
from hookline.workers.attempts import Ends, copy_number, next_number
from hookline.workers.store import Acquired, Store
from hookline.workers.work import Case, Held


class HeldClaims:
    """The claims of one worker. `ends` has the details of events that were parked and are not settled yet."""

    def __init__(self, store: Store, queue: str) -> None:
        self.ends = Ends()
        self.observer = NOBODY
        self._store = store
        self._queue = queue

    async def note_attempt(self, case: Case, failures: int) -> Held | None:
        """The claim on an event, whose attempt is noted; None if another process may have the event by now.

        A store that does not answer learns of the attempt with the release of the claim.
        """
        number = copy_number(case.received.headers)
        held = Held(case.key, failures, next_number(number))
        try:
            is_noted = await self._store.note_attempt(self._queue, held.key, failures=failures, tried=held.tried)
        except Unreachable:
            return held
        except BaseException:
            await self.let_go(held, number)
            raise
        if is_noted and self._store.holds(self._queue, held.key):
            return replace(held, failures=0)
        await self.release(case)
        return None

    @asynccontextmanager
    async def held(self, received: Received) -> AsyncIterator[list[Held]]:
        """A list for the claims that are held until a delivery is settled. After an exception they are released."""
        held: list[Held] = []
        try:
            yield held
        except BaseException:
            for each in held:
                await self.let_go(each, copy_number(received.headers))
            raise

    async def note_end(self, cases: Sequence[Case], mark: int, held: list[Held]) -> None:
        """Claim events that are parked without a call, so that their end is noted."""
        for case in cases:
            with suppress(Unreachable):
                if await self._acquires(case) and (noted := await self.note_attempt(case, mark)) is not None:
                    held.append(noted)

    async def _acquires(self, case: Case) -> bool:
        try:
            return isinstance(await self._store.claim(self._queue, case.key), Acquired)
        except asyncio.CancelledError:  # the store may have carried out the claim
            await self.release(case)
            raise

    async def release(self, case: Case, failures: int = 0) -> None:
        """Give up the claim on an event now, and count its failures."""
        await self.let_go(Held(case.key, failures), copy_number(case.received.headers) if failures else 0)

    async def let_go(self, held: Held, copy: int) -> None:
        """Give up a claim that was held. `copy` is the number of the newest copy that is surely in the queue."""
        started_s = time.monotonic()
        with suppress(Unreachable):
            await self._store.release(self._queue, held.key, failures=held.failures, copy=copy, tried=held.tried)
        self.observer.stored("release", time.monotonic() - started_s)
