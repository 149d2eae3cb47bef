"""Functions around a worker's function, applied once when the worker starts."""

from collections.abc import Awaitable, Callable
from typing import Any

from hookline.schemas.errors import NotStarted
from hookline.schemas.events import CanonicalEvent
from hookline.workers.api import Call, Delivery, Worker


def around(worker: Worker[Any]) -> Callable[..., Awaitable[None]]:
    """The worker's function with its middleware around it, the first outermost.

    Raises NotStarted for a middleware that fails, or that returns no function.
    """
    if not worker.middleware:
        return worker.function
    call: Call = worker.function if worker.takes_delivery else _without_delivery(worker)
    for middleware in reversed(worker.middleware):
        call = _apply(worker, middleware, call)
    return call


def _apply(worker: Worker[Any], middleware: Callable[[Call], Any], call: Call) -> Call:
    name = getattr(middleware, "__name__", "its middleware")
    try:
        made = middleware(call)
    except Exception as error:
        raise NotStarted(f"worker {worker.queue}: {name} failed: {type(error).__name__}: {error}") from error
    if not callable(made):
        raise NotStarted(f"worker {worker.queue}: {name} returned {type(made).__name__}, and must return a function")
    return made  # type: ignore[no-any-return]  # its parameters are checked by the call


def _without_delivery(worker: Worker[Any]) -> Call:
    async def function(event: CanonicalEvent, _: Delivery[Any]) -> None:
        await worker.function(event)

    return function
