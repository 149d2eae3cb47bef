"""The references' event loop, which is Hookline's too, and their stop by a signal."""

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any

import uvloop
from aiohttp import web


def run(main: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main)


async def until_stopped() -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()


async def serve(application: web.Application, port: int) -> None:
    """Answer on loopback until a signal stops the program."""
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, backlog=1024).start()
    await until_stopped()
    await runner.cleanup()
