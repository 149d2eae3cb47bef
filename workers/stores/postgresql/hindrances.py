"""What kept functions' transactions waiting besides the functions: a server that was frozen, or locks of others.

A function that took too long is to blame only if it had its time. The server is asked again and again while it runs,
so that it does not matter when a freeze begins or ends.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager

import msgspec

from hookline.schemas.errors import Unreachable
from hookline.workers.failure_policy import HandlerTimedOut
from hookline.workers.stores.postgresql.pool import Connection

_LOOK_EVERY_S = 0.25
_TICK_S = 0.25  # an answer that takes no longer is none too late
_HINDERED_S = 0.5
_HINDERED = 1 / 20  # of the function's time-out, if that is longer
_LAST_LOOK_S = 2.0
_SILENT = "it did not answer in time"
_LOCKED = "another transaction had a lock for too long"
_WAITING = "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND pid = ANY(%s)"


async def waiting_for_locks(connection: Connection, pids: Sequence[int]) -> set[int]:
    """Which of the server's processes wait for a lock that another transaction has."""
    return {pid for (pid,) in await (await connection.execute(_WAITING, ([*pids],))).fetchall()}


class _Hindered(msgspec.Struct, eq=False):
    """For how long a transaction was kept waiting."""

    pid: int
    silent_s: float = 0.0
    locked_s: float = 0.0


class Hindrances:
    """Watches the running transactions of one store. `waiting` returns which of the server's processes wait for locks.

    Behind a pooler waits for locks cannot be seen, and count as the function's time.
    """

    def __init__(self, waiting: Callable[[Sequence[int]], Awaitable[Collection[int]]]) -> None:
        self._waiting = waiting
        self._running: set[_Hindered] = set()
        self._watching: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def told_apart(self, timeout_s: float, pid: int) -> AsyncIterator[None]:
        """Raises Unreachable instead of HandlerTimedOut if others have kept the function in the block from its time."""
        hindered = _Hindered(pid)
        self._running.add(hindered)
        timer = asyncio.get_running_loop().call_later(_LOOK_EVERY_S, self._watch)
        try:
            yield
        except HandlerTimedOut as error:
            await self._look([hindered], _LAST_LOOK_S)
            if max(hindered.silent_s, hindered.locked_s) >= max(_HINDERED_S, _HINDERED * timeout_s):
                fault = _SILENT if hindered.silent_s > hindered.locked_s else _LOCKED
                raise Unreachable(f"PostgreSQL: {fault}") from error
            raise
        finally:
            timer.cancel()
            self._running.discard(hindered)

    def close(self) -> None:
        """Ask nothing more."""
        if self._watching is not None:
            self._watching.cancel()

    def _watch(self) -> None:
        """A transaction is not over soon."""
        if self._watching is None:
            self._watching = asyncio.create_task(self._keep_looking())

    async def _keep_looking(self) -> None:
        try:
            while self._running:
                await self._look(self._running)
                await asyncio.sleep(_LOOK_EVERY_S)
        finally:
            self._watching = None

    async def _look(self, running: Collection[_Hindered], at_most_s: float = float("inf")) -> None:
        """Ask the server once. While it does not answer, each tick counts as silence, however long it took here."""
        asking = asyncio.ensure_future(self._waiting([each.pid for each in running]))
        silent_s = 0.0
        try:
            while silent_s < at_most_s and not (await asyncio.wait([asking], timeout=_TICK_S))[0]:
                silent_s += _TICK_S
                for each in running:
                    each.silent_s += _TICK_S
            if asking.done():
                self._note(running, asking)
        finally:
            asking.cancel()

    @staticmethod
    def _note(running: Collection[_Hindered], asked: "asyncio.Future[Collection[int]]") -> None:
        waiting: Collection[int] = ()
        try:
            waiting = asked.result()
        except Unreachable:
            for each in running:
                each.silent_s += _LOOK_EVERY_S
        for each in running:
            each.locked_s += _LOOK_EVERY_S * (each.pid in waiting)
