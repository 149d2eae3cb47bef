"""Cancellations that a library swallows, and those that are none of this task."""

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any


def is_cancelled() -> bool:
    """Whether this task itself was cancelled, and not something that it awaited."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


async def to_its_end(step: Coroutine[Any, Any, None]) -> None:
    """Await a step that must not stop half-way. A cancellation that comes meanwhile is raised at its end.

    The step has to end by itself, soon.
    """
    task = asyncio.create_task(step)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # retrieved, so that asyncio does not log it
        raise


@contextmanager
def cancellation_kept() -> Iterator[None]:
    """Raises CancelledError after a block in which this task was cancelled, whatever else the block ends with.

    `asyncio.wait_for` of Python 3.11 returns the result of a call that ends just when its task is cancelled. The
    libraries for Redis, PostgreSQL and RabbitMQ use it. A loop that never learns of its cancellation never ends.
    https://github.com/python/cpython/issues/86296
    """
    task = asyncio.current_task()
    before = 0 if task is None else task.cancelling()
    try:
        yield
    except Exception as error:
        if task is not None and task.cancelling() > before:
            raise asyncio.CancelledError from error
        raise
    if task is not None and task.cancelling() > before:
        raise asyncio.CancelledError
