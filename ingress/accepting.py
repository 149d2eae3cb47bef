"""Accepts the connections of a crowd. uvloop accepts one in each turn of the event loop.

Turns are long while much is parsed, and a new connection would wait in the kernel's queue behind all of a crowd's.
"""

import asyncio
import socket
from collections.abc import Callable

_AT_ONCE = 32
_TRIES_EVERY = 8  # connections, since a try that finds no other costs some microseconds


class Accepting:
    """A protocol factory for one listening socket, which also accepts what waits behind the loop's own connections."""

    def __init__(self, listener: socket.socket, make: Callable[[], asyncio.Protocol]) -> None:
        self._listener = listener
        listener.setblocking(False)  # noqa: FBT003  the library's name for it
        self._make = make
        self._until_try = 0
        self._is_trying = False
        self._starting: set[asyncio.Task[None]] = set()

    def __call__(self) -> asyncio.Protocol:
        self._until_try -= 1
        if self._until_try < 0 and not self._is_trying:
            self._is_trying = True
            asyncio.get_running_loop().call_soon(self._accept_crowd)
        return self._make()

    def _accept_crowd(self) -> None:
        """Accept some in this turn, and go on in the next turns while others wait."""
        loop = asyncio.get_running_loop()
        for _ in range(_AT_ONCE):
            try:
                connection, _ = self._listener.accept()
            except OSError:  # none waits, no file is left, or the listener is closed
                self._is_trying, self._until_try = False, _TRIES_EVERY
                return
            connection.setblocking(False)  # noqa: FBT003  the library's name for it
            task = loop.create_task(self._start(connection))
            self._starting.add(task)
            task.add_done_callback(self._starting.discard)
        loop.call_soon(self._accept_crowd)

    async def _start(self, connection: socket.socket) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(self._make, connection)
        except OSError:  # its client is gone
            connection.close()
