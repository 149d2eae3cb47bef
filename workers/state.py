"""What workers open when they start and close when they end: database pools, HTTP sessions, models."""

import asyncio
import logging
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any, Self

from hookline.schemas.errors import NotStarted
from hookline.workers.api import Opener, Worker
from hookline.workers.user_code import shown, with_line

log = logging.getLogger("hookline.workers")


class States:
    """The states of one process. Each opener is entered once, even if several workers name it.

    Use it as a context manager around the workers. Leaving it closes what was opened, the last first, in the task that
    opened it. `limit_s` bounds each opening and each closing.
    """

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._open = AsyncExitStack()
        self._states: dict[Opener[Any], Any] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._open.aclose()

    async def ready(self, worker: Worker[Any]) -> Worker[Any]:
        """The worker with its state, opened unless another worker has opened it. Raises NotStarted."""
        if worker.opener is None:
            return worker
        if worker.opener not in self._states:
            self._states[worker.opener] = await self._enter(worker, worker.opener)
        return worker.with_state(self._states[worker.opener])

    async def _enter(self, worker: Worker[Any], opener: Opener[Any]) -> Any:
        name = f"{getattr(opener, '__name__', 'the state')} of worker {worker.queue}"
        limit = asyncio.timeout(self._limit_s)
        try:
            async with limit:
                context = _context(opener)
                state = await context.__aenter__()
        except TimeoutError as error:
            if limit.expired():
                raise NotStarted(f"{name} took more than {self._limit_s:g} s") from None
            raise _failed(name, error) from error
        except (Exception, SystemExit) as error:  # a team's code may raise anything
            raise _failed(name, error) from error
        self._open.push_async_callback(self._leave, name, context)
        return state

    async def _leave(self, name: str, context: Any) -> None:
        """Close one state. A failure is logged and goes no further, so that the others are closed too."""
        try:
            async with asyncio.timeout(self._limit_s):
                await context.__aexit__(None, None, None)
        except (Exception, SystemExit):
            log.exception("%s did not close", name)


def _context(opener: Opener[Any]) -> AbstractAsyncContextManager[Any]:
    context = opener()
    if not isinstance(context, AbstractAsyncContextManager):
        raise TypeError("it gives no async context manager; decorate it with @asynccontextmanager")
    return context


def _failed(name: str, error: Exception | SystemExit) -> NotStarted:
    return NotStarted(f"{name} failed: {shown(error, with_line)}")
