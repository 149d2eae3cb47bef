"""Accepts connections: several in each turn of the event loop while a crowd connects.

libuv accepts one connection of a listening socket in each turn. In a flood a turn takes some tens of milliseconds, so a
new client would wait for seconds behind a thousand others in the kernel's queue. While many wait there, copies of the
socket listen, too, and each accepts one in each turn.
"""

import asyncio
import socket
import struct
import time
from collections.abc import Callable

_BACKLOG = 1024
_MANY = 8  # connections in the kernel's queue
_LOOKS_EVERY_S = 0.1
_KEPT_S = 1.0
_INFO_BYTES = 28
_WAITING_AT = 24  # `tcpi_unacked` of struct tcp_info in linux/tcp.h: of a listening socket, the length of its queue


class Acceptor:
    """Listens on a bound socket. It looks how many connections wait whenever one is accepted, some times a second.

    `burst` says how many may be accepted in a turn.
    """

    def __init__(self, listener: socket.socket, make: Callable[[], asyncio.Protocol], burst: Callable[[], int]) -> None:
        self._listener = listener
        self._make = make
        self._burst = burst
        self._server: asyncio.Server | None = None
        self._copies: list[asyncio.Server] = []
        self._opening: asyncio.Task[None] | None = None
        self._looks_again_s = 0.0
        self._is_closed = False

    @property
    def listeners(self) -> int:
        """How many connections are accepted in a turn."""
        return 1 + len(self._copies)

    async def start(self) -> None:
        self._server = await self._listen(self._listener)

    async def _listen(self, listener: socket.socket) -> asyncio.Server:
        return await asyncio.get_running_loop().create_server(self._accept, sock=listener, backlog=_BACKLOG)

    def _accept(self) -> asyncio.Protocol:
        now_s = time.monotonic()
        if now_s >= self._looks_again_s or (self._copies and self.listeners > self._burst()):
            self._look(now_s)
        return self._make()

    def _look(self, now_s: float) -> None:
        """Have as many listeners as are needed until the next look. None is closed here: it may be accepting."""
        self._looks_again_s = now_s + _LOOKS_EVERY_S
        if self._opening is not None and not self._opening.done():
            return
        loop, wanted = asyncio.get_running_loop(), self._wanted()
        if wanted > len(self._copies):
            self._looks_again_s = now_s + _KEPT_S
            self._opening = loop.create_task(self._open_copies(wanted))
        elif wanted < len(self._copies):
            loop.call_soon(self._close_copies, wanted)

    def _wanted(self) -> int:
        """How many copies are to listen."""
        return self._burst() - 1 if _waiting(self._listener) >= _MANY else 0

    async def _open_copies(self, wanted: int) -> None:
        try:
            while len(self._copies) < wanted and not self._is_closed:
                self._copies.append(await self._listen(self._listener.dup()))
        except OSError:  # no file is left
            return
        finally:
            if self._is_closed:
                self._close_copies()

    def _close_copies(self, left: int = 0) -> None:
        self._copies, copies = self._copies[:left], self._copies[left:]
        for server in copies:
            server.close()

    def close(self) -> None:
        """Accept no more connections."""
        self._is_closed = True
        self._close_copies()
        if self._server is not None:
            self._server.close()


def _waiting(listener: socket.socket) -> int:
    """How many connections wait in the kernel's queue. Only Linux tells; elsewhere 0."""
    try:
        info = listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO_BYTES)
    except (AttributeError, OSError):
        return 0
    return int(struct.unpack_from("=I", info, _WAITING_AT)[0])
