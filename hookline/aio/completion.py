"""The end of one operation. Unlike that of a future, its callback runs at once, not in a turn of the event loop."""

import asyncio
from collections.abc import Callable, Generator
from functools import partial
from typing import Any


class Completion:
    """Ends once: with None, with an error, or cancelled. It is used and awaited as a future is.

    The code that ends it may be in the middle of others' work. So an error of its callback goes to the event loop's
    handler, as that of a future's callback does.
    """

    __slots__ = ("_callback", "_error", "_is_done")

    def __init__(self) -> None:
        self._is_done = False
        self._error: BaseException | None = None
        self._callback: Callable[[Any], object] | None = None

    def done(self) -> bool:
        return self._is_done

    def cancelled(self) -> bool:
        return isinstance(self._error, asyncio.CancelledError)

    def exception(self) -> BaseException | None:
        """What it ended with; None if it succeeded or has not ended."""
        return self._error

    def set_result(self, _: None) -> None:
        self._end(None)

    def set_exception(self, error: BaseException) -> None:
        self._end(error)

    def end(self, error: BaseException | None) -> None:
        """End with this error, or well without one. Nothing, if it has ended: its caller may have stopped waiting."""
        if not self._is_done:
            self._end(error)

    def cancel(self) -> bool:
        """Whether it was still running."""
        if self._is_done:
            return False
        self._end(asyncio.CancelledError())
        return True

    def add_done_callback(self, callback: Callable[[Any], object], /) -> None:
        """Call this, with the completion, when it ends; at once if it has ended."""
        before = self._callback
        self._callback = callback if before is None else partial(_call_both, before, callback)
        if self._is_done:
            self._end(self._error)

    async def ended(self) -> None:
        """Return once it has ended, in whatever way."""
        if not self._is_done:
            end = asyncio.get_running_loop().create_future()
            self.add_done_callback(partial(_wake, end))
            await end

    def __await__(self) -> Generator[Any, None, None]:
        try:
            yield from self.ended().__await__()
        except asyncio.CancelledError:
            self.cancel()
            raise
        if self._error is not None:
            raise self._error

    def _end(self, error: BaseException | None) -> None:
        self._is_done, self._error = True, error
        callback, self._callback = self._callback, None
        if callback is None:
            return
        try:
            callback(self)
        except Exception as fault:  # noqa: BLE001  handed over
            context = {"message": f"a callback of {type(self).__name__} failed", "exception": fault}
            asyncio.get_running_loop().call_exception_handler(context)


def _call_both(first: Callable[[Any], object], second: Callable[[Any], object], ended: Completion) -> None:
    try:
        first(ended)
    finally:
        second(ended)


def _wake(end: "asyncio.Future[None]", _: Completion) -> None:
    if not end.done():
        end.set_result(None)
