"""Waiting for threads on the event loop."""

import asyncio
import threading
from contextlib import suppress


async def ended(thread: threading.Thread) -> None:
    """Return once a daemon thread has ended.

    Cancelled, it waits no longer; and the process may end, even if the thread waits for a disk or a server that hangs.
    A call in an executor, such as `asyncio.to_thread`, would keep the process from that.
    """
    loop = asyncio.get_running_loop()
    end: asyncio.Future[None] = loop.create_future()

    def wait() -> None:
        thread.join()
        with suppress(RuntimeError):  # the event loop is closed: nobody waits any more
            loop.call_soon_threadsafe(_end, end)

    threading.Thread(target=wait, name=f"end of {thread.name}", daemon=True).start()
    await end


def _end(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)
