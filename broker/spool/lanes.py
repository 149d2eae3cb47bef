"""Threads for calls that block: one lane runs one call after the other."""

import asyncio
import queue
import threading
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


class Lane(Protocol):
    """Runs calls in their order, off the event loop."""

    def run(self, call: Callable[[], T]) -> "asyncio.Future[T]":
        """The future ends with what the call returns or raises."""

    def close(self) -> None:
        """End after the calls that wait."""


class ThreadLane:
    """Implements Lane with a thread. It never keeps the process from ending, even if the disk hangs."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._calls: queue.SimpleQueue[tuple[Callable[[], Any], asyncio.Future[Any]] | None] = queue.SimpleQueue()
        threading.Thread(target=self._work, name=name, daemon=True).start()

    def run(self, call: Callable[[], T]) -> "asyncio.Future[T]":
        future: asyncio.Future[T] = self._loop.create_future()
        self._calls.put((call, future))
        return future

    def close(self) -> None:
        self._calls.put(None)

    def _work(self) -> None:
        while (item := self._calls.get()) is not None:
            call, future = item
            result, error = None, None
            try:
                result = call()
            except BaseException as raised:  # noqa: BLE001  the caller gets it, whatever it is
                error = raised
            try:
                self._loop.call_soon_threadsafe(_end, future, result, error)
            except RuntimeError:  # the loop is closed: nobody waits any more
                return


def _end(future: "asyncio.Future[Any]", result: object, error: BaseException | None) -> None:
    if future.done():  # the caller has stopped waiting
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
