"""What an ingress process and its supervisor tell each other: lines on the process's stdin and stdout."""

import asyncio
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress

STOP = b"stop\n"
STOP_NOW = b"now\n"
READ_SETTINGS = b"settings\n"
"""From the supervisor. The end of stdin means `STOP`, which works even if the supervisor is killed."""

ALIVE = b"alive\n"
OPEN = b"open\n"
"""From a process: it runs, which it says each second; and it listens."""

BROKER_BACK = b"broker\n"
"""From the process that reconnected first, and to the others."""

ALIVE_EVERY_S = 1.0


class SupervisorLink:
    """A process's side. Calls what `heard` has for each line of the supervisor, and says each second that it runs."""

    def __init__(self, heard: Mapping[bytes, Callable[[], None]]) -> None:
        self._heard = heard
        self._rest = b""
        self._loop = asyncio.get_running_loop()
        os.set_blocking(sys.stdout.fileno(), False)  # a frozen supervisor must not freeze this process
        self._loop.add_reader(sys.stdin.fileno(), self._read)
        self._task = asyncio.create_task(self._say_alive())

    def tell(self, line: bytes) -> None:
        with suppress(BrokenPipeError, BlockingIOError):  # without a supervisor the end of stdin stops this process
            os.write(sys.stdout.fileno(), line)

    def close(self) -> None:
        self._task.cancel()
        self._loop.remove_reader(sys.stdin.fileno())

    async def _say_alive(self) -> None:
        while True:
            self.tell(ALIVE)
            await asyncio.sleep(ALIVE_EVERY_S)

    def _read(self) -> None:
        read = os.read(sys.stdin.fileno(), 1024)
        *lines, self._rest = (self._rest + read).split(b"\n")
        if not read:
            self._loop.remove_reader(sys.stdin.fileno())
            lines.append(STOP.rstrip())
        for line in lines:
            if (call := self._heard.get(line + b"\n")) is not None:
                call()
