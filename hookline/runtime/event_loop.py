"""The event loop of all commands; the garbage collector, and the turns of threads, of a process that serves."""

import asyncio
import gc
import logging
import sys
from collections.abc import Coroutine, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from hookline.aio.name_lookup import LooksUpInThreads

T = TypeVar("T")

log = logging.getLogger("hookline")

_CANCELLED_S = 3.0
_NEW_OBJECTS = 20_000
_SWITCH_S = 0.0001


def run_to_end(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine, on uvloop if it is installed: it halves the cost of a request.

    A task that swallows its cancellation and a thread that is still busy are left behind. `asyncio.Runner` would wait
    for both when it closes, without an end.
    """
    runner = asyncio.Runner(loop_factory=_new_event_loop)
    try:
        return runner.run(main)
    finally:
        _close(runner.get_loop())
        asyncio.set_event_loop(None)


def _close(loop: asyncio.AbstractEventLoop) -> None:
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    late = loop.run_until_complete(asyncio.wait(tasks, timeout=_CANCELLED_S))[1] if tasks else ()
    if late:
        log.warning("what runs on although it was cancelled is left behind%s", _place(late))
        loop.set_exception_handler(lambda _loop, _context: None)  # which asyncio tells of them
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()


def _place(tasks: "Iterable[asyncio.Task[Any]]") -> str:
    """A line of a worker's file at which one of them waits."""
    from hookline.workers.user_code import waiting_line  # noqa: PLC0415  few need it

    line = next((line for line in map(waiting_line, tasks) if line is not None), None)
    return "" if line is None else f", at {Path(line.path).name}:{line.number}"


def run_until_interrupted(main: Coroutine[Any, Any, object]) -> None:
    """Run a coroutine that has no end of its own. Ctrl-C ends it, which is no failure."""
    with suppress(KeyboardInterrupt):
        run_to_end(main)


def _new_event_loop() -> asyncio.AbstractEventLoop:
    kind: type[asyncio.AbstractEventLoop] = asyncio.SelectorEventLoop
    with suppress(ImportError):
        import uvloop  # noqa: PLC0415  not on every platform

        kind = uvloop.Loop
    loop: asyncio.AbstractEventLoop = type("EventLoop", (LooksUpInThreads, kind), {})()
    return loop


def collect_rarely() -> None:
    """Raise the threshold of a garbage collection above the number of objects of a thousand requests in flight.

    At Python's default of 700, they trigger one collection after another, each over all objects of 10,000 connections.
    That costs the ingress half of its time and finds nothing, since no request and no event leaves a cycle behind.
    """
    gc.set_threshold(_NEW_OBJECTS, *gc.get_threshold()[1:])


def let_threads_in() -> None:
    """Let a thread that waits for the interpreter have it after a tenth of a millisecond.

    At Python's default of 5 ms, an event loop that is busy with short turns starves threads, such as the one that
    writes to SQLite: `take_gil` in CPython's ceval_gil asks the holder to hand over only after a wait of 5 ms in which
    the holder did not let go, and the loop lets go in each turn, for too short a time for another thread to wake up.
    An event took up to four seconds to be written while clients pipelined health checks.

    Threads that share all of the work with the loop then interrupt each other more often, which costs a worker with its
    store in SQLite a tenth of its CPU time.
    """
    sys.setswitchinterval(_SWITCH_S)
