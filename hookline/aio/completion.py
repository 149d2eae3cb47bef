"""The end of one operation. Unlike that of a future, its callback runs at once, not in a turn of the event loop."""

import asyncio
from collections.abc import Awaitable, Callable, Generator
from functools import partial
from typing import Any, Final, TypeAlias, TypeVar

import msgspec

T = TypeVar("T")

_Then: TypeAlias = tuple[Callable[[Any, BaseException | None], object], Any]
"""A callback and its first argument."""


class Completion(msgspec.Struct, eq=False, kw_only=True):
    """Ends once: with None, with an error, or cancelled. It is awaited as a future is.

    The code that ends it may be in the middle of others' work. So an error of its callback goes to the event loop's
    handler, as that of a future's callback does.
    """

    _error: BaseException | None = None
    _then: _Then | None = None  # `_ENDED` from when it is called

    def done(self) -> bool:
        return self._then is _ENDED

    def exception(self) -> BaseException | None:
        """What it ended with; None if it succeeded or has not ended."""
        return self._error

    def end(self, error: BaseException | None) -> bool:
        """End with this error, or well without one. Whether it was still running: otherwise nothing happens."""
        then = self._then
        if then is _ENDED:
            return False
        self._then = _ENDED
        if error is not None:
            self._error = error
        if then is not None:
            callback, about = then
            try:
                callback(about, error)
            except Exception as fault:  # noqa: BLE001  handed over
                context = {"message": f"a callback of {type(self).__name__} failed", "exception": fault}
                asyncio.get_running_loop().call_exception_handler(context)
        return True

    def cancel(self) -> bool:
        """Whether it was still running."""
        return not self.done() and self.end(asyncio.CancelledError())

    def when_ended(self, callback: Callable[[T, BaseException | None], object], about: T) -> None:
        """Call this with `about`, and with what it ended with, when it ends; at once if it has ended."""
        before, self._then = self._then, (callback, about)
        if before is _ENDED:
            self.end(self._error)
        elif before is not None:
            self._then = (_call_both, (before, self._then))

    async def ended(self) -> None:
        """Return once it has ended, in whatever way."""
        if not self.done():
            end = asyncio.get_running_loop().create_future()
            self.when_ended(_wake, end)
            await end

    def __await__(self) -> Generator[Any, None, None]:
        try:
            yield from self.ended().__await__()
        except asyncio.CancelledError:
            self.cancel()
            raise
        if self._error is not None:
            raise self._error


def completion_of(awaitable: Awaitable[None]) -> Completion:
    """A completion that ends as a coroutine or a future does, which is cancelled with it."""
    completion, future = Completion(), asyncio.ensure_future(awaitable)
    future.add_done_callback(partial(_end_as, completion))
    completion.when_ended(_cancel, future)
    return completion


def _end_as(completion: Completion, future: "asyncio.Future[None]") -> None:
    completion.end(asyncio.CancelledError() if future.cancelled() else future.exception())


def _cancel(future: "asyncio.Future[None]", _: BaseException | None) -> None:
    future.cancel()


def _call_both(both: tuple[_Then, _Then], error: BaseException | None) -> None:
    (first, about), (second, about_too) = both
    try:
        first(about, error)
    finally:
        second(about_too, error)


def _wake(end: "asyncio.Future[None]", _: BaseException | None) -> None:
    if not end.done():
        end.set_result(None)


_ENDED: Final[_Then] = (_wake, None)
"""Compared by identity only."""
