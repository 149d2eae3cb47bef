"""Which events may be handled now: each once, so many calls at a time, and a crash suspect alone."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Collection, Generator, Sized
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, cast
from weakref import WeakSet


class _AtOnce:
    """An awaitable that has ended: what nearly every entry returns. A coroutine for each would cost more."""

    def __await__(self) -> Generator[Any, Any, None]:
        return iter(())  # type: ignore[return-value]  # any iterator will do


_AT_ONCE = _AtOnce()


class InFlightKeys:
    """Makes a second delivery of an event wait for the first to end."""

    def __init__(self) -> None:
        self._ended: dict[str, asyncio.Future[None] | None] = {}  # a future only where a delivery waits

    def acquire(self, event_id: str) -> Awaitable[None]:
        """Wait until no other delivery of the event is in flight; the time-out of its call bounds the wait."""
        return _AT_ONCE if self.try_acquire(event_id) else self._wait(event_id)

    def try_acquire(self, event_id: str) -> bool:
        """Whether no other delivery of the event was in flight. This one is now."""
        if event_id in self._ended:
            return False
        self._ended[event_id] = None
        return True

    def release(self, *event_ids: str) -> None:
        """End the deliveries of these events."""
        for event_id in event_ids:
            ended = self._ended.pop(event_id)
            if ended is not None:
                ended.set_result(None)

    async def _wait(self, event_id: str) -> None:
        while event_id in self._ended:
            ended = self._ended[event_id] or asyncio.get_running_loop().create_future()
            self._ended[event_id] = ended
            await asyncio.wait([ended])  # a cancelled waiter leaves the future to the others
        self._ended[event_id] = None


class HandlerLimit:
    """A semaphore that can be closed: a task that would have to wait is then cancelled instead.

    An event whose call has not begun when its worker stops is better handled by another process.
    """

    def __init__(self, count: int) -> None:
        self.places: deque[asyncio.Future[None]] = deque()
        """Of those who wait, the longest first."""
        self._free = count  # none is free while a task waits
        self._waiting: set[asyncio.Task[None]] = set()
        self._turned_away: WeakSet[asyncio.Task[None]] = WeakSet()
        self._is_closed = False

    def try_acquire(self) -> bool:
        """Take a place if one is free now."""
        if not self._free:
            return False
        self._free -= 1
        return True

    async def acquire(self) -> None:
        """Take a place, the longest waiting task first."""
        if self.try_acquire():
            return
        task = cast("asyncio.Task[None]", asyncio.current_task())
        if self._is_closed or task in self._turned_away:
            raise asyncio.CancelledError
        place = asyncio.get_running_loop().create_future()
        self.places.append(place)
        self._waiting.add(task)
        try:
            await place
        except asyncio.CancelledError:
            if not place.cancelled():  # it had the place already
                self.release()
            raise
        finally:
            self._waiting.discard(task)

    def release(self) -> None:
        """Give a place back."""
        while self.places:
            place = self.places.popleft()
            if not place.done():
                place.set_result(None)
                return
        self._free += 1

    def close(self) -> None:
        """Cancel every task that waits, now or later."""
        self._is_closed = True
        for task in self._waiting:
            task.cancel()

    def turn_away(self, tasks: Collection["asyncio.Task[None]"]) -> None:
        """Cancel these tasks if they wait, now or later."""
        self._turned_away.update(tasks)
        for task in self._waiting.intersection(tasks):
            task.cancel()


class ExclusiveGate:
    """One for all workers of a process, because a crash takes everything in flight in the process with it.

    First come, first served: a shared entry waits behind an exclusive one that arrived earlier.
    """

    def __init__(self) -> None:
        self.waiting: deque[tuple[asyncio.Future[None], bool]] = deque()
        """Entries that wait, each with whether it is exclusive."""
        self._shared = 0
        self._is_exclusive = False

    def try_enter(self) -> bool:
        """Enter together with others, unless an exclusive entry lasts, or waits itself."""
        if self._is_exclusive or self.waiting:
            return False
        self._shared += 1
        return True

    async def enter(self) -> None:
        """Enter together with others; waits while an exclusive entry lasts, or waits itself."""
        if not self.try_enter():
            await self._wait(exclusive=False)

    def leave(self) -> None:
        """End a shared entry."""
        self._shared -= 1
        if self.waiting:
            self._admit()

    @asynccontextmanager
    async def exclusive(self) -> AsyncIterator[None]:
        """Enter alone, once every earlier entry has ended; nothing else enters until this is left."""
        if self._is_exclusive or self._shared or self.waiting:
            await self._wait(exclusive=True)
        else:
            self._is_exclusive = True
        try:
            yield
        finally:
            self._leave_exclusive()

    def _leave_exclusive(self) -> None:
        self._is_exclusive = False
        self._admit()

    async def _wait(self, *, exclusive: bool) -> None:
        entered = asyncio.get_running_loop().create_future()
        self.waiting.append((entered, exclusive))
        try:
            await entered
        except asyncio.CancelledError:
            if entered.cancelled():
                self._admit()
            elif exclusive:  # it had entered already
                self._leave_exclusive()
            else:
                self.leave()
            raise

    def _admit(self) -> None:
        """Let in the longest waiting entries, as far as they go together."""
        while self.waiting and not self._is_exclusive:
            entered, exclusive = self.waiting[0]
            if not entered.cancelled():
                if exclusive and self._shared:
                    return
                self._is_exclusive, self._shared = exclusive, self._shared + (not exclusive)
                entered.set_result(None)
            self.waiting.popleft()


class Admission:
    """Entered for each call of the worker's function, and left after it.

    Entering waits for one of `concurrency` places, and for a crash suspect that is handled alone. All workers of a
    process share the gate. `keys` admits one delivery of an event at a time. A task that makes one call after the other
    enters by a `Turn`.
    """

    def __init__(self, concurrency: int, gate: ExclusiveGate) -> None:
        self.keys = InFlightKeys()
        self._limit = HandlerLimit(concurrency)
        self._gate = gate

    def alone(self) -> AbstractAsyncContextManager[None]:
        """Entered once all running calls of the process have ended; no call begins until it is left."""
        return self._gate.exclusive()

    def close(self) -> None:
        """Cancel every task that waits for a place, or that would have to from now on."""
        self._limit.close()

    def turn_away(self, tasks: Collection["asyncio.Task[None]"]) -> None:
        """Cancel these tasks if they wait for a place, or would have to from now on."""
        self._limit.turn_away(tasks)

    def turn(self) -> "Turn":
        """A turn for one task."""
        return Turn(self, self._limit.places, self._gate.waiting)

    def try_enter(self) -> bool:
        """Enter if that takes no waiting. Without a coroutine this is cheaper than `enter`."""
        if not self._limit.try_acquire():
            return False
        if self._gate.try_enter():
            return True
        self._limit.release()
        return False

    async def enter(self) -> None:
        """Wait for a place, and for a crash suspect that is handled alone."""
        await self._limit.acquire()
        try:
            await self._gate.enter()
        except BaseException:
            self._limit.release()
            raise

    def leave(self) -> None:
        """End what was entered."""
        self._gate.leave()
        self._limit.release()


class Turn:
    """An entry that a task keeps from one call to the next while nobody waits for it.

    To leave after each call and to enter again is the same, and costs more than most calls.
    """

    def __init__(self, admission: Admission, *waiting: Sized) -> None:
        self.has_begun = False
        self._admission = admission
        self._places, self._gate = waiting

    def try_begin(self) -> bool:
        """Enter if that takes no waiting."""
        self.has_begun = self._admission.try_enter()
        return self.has_begun

    async def begin(self) -> None:
        """Enter, which may wait."""
        await self._admission.enter()
        self.has_begun = True

    def give_way(self) -> None:
        """End the turn if anybody waits. To be called after each call."""
        if self._places or self._gate:
            self.end()

    def end(self) -> None:
        """Leave, if the turn has begun."""
        if self.has_begun:
            self.has_begun = False
            self._admission.leave()
