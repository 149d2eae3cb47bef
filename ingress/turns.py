"""Turns for work that costs more than a usual request, so that a crowd of it holds up no other."""

import asyncio
import time
from collections import deque
from typing import Protocol

_READS = 256
_PARSING_S = 0.005
_COSTLY_S = 0.002
_UNITS = 64
_UNIT_BYTES = 16_384


class Parsing(Protocol):
    @property
    def is_costly(self) -> bool:
        """Whether a byte of what waits may cost a hundred times as much as one of a usual request."""

    def parse_next(self) -> bool:
        """Parse a small part of what waits; whether more can be parsed now."""


class Turns:
    """Bounds what each turn of the event loop spends on parsing and on unusual requests, however many connections.

    `reads_left` is how much may be parsed at once as it is read, in usual requests. It is filled up in each turn that
    begins requests on the fast lane, and otherwise only once it is used up. The rest is parsed in the next turns, a
    little for each connection, for a few milliseconds in each turn. Costly bytes and others have a time of their own,
    so that no crowd of the one holds up the other; that of costly ones is shorter, since new connections wait behind
    it. A body in chunks of one byte costs a hundred times as much to parse as the same body in one piece, and so do
    tiny records of TLS. To verify a large body costs as much as several small ones, and clients that pipeline have a
    request at hand in each turn.
    """

    __slots__ = ("_costly", "_is_scheduled", "_usual", "_waiting", "reads_left")

    def __init__(self) -> None:
        self.reads_left = _READS
        self._usual: dict[Parsing, None] = {}
        self._costly: dict[Parsing, None] = {}
        self._waiting: deque[tuple[asyncio.Future[None], int]] = deque()
        self._is_scheduled = False

    def fill_up(self) -> None:
        """Let as much be parsed at once again as in a new turn."""
        self.reads_left = _READS

    def parse(self, connection: Parsing) -> None:
        """Call `parse_next` in some of the next turns, until it returns False."""
        (self._costly if connection.is_costly else self._usual)[connection] = None
        self._schedule()

    async def wait(self, size: int = 0) -> None:
        """Wait for a turn with a body of this size; those who asked earlier have theirs first."""
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append((turn, 1 + size // _UNIT_BYTES))
        self._schedule()
        await turn

    def _schedule(self) -> None:
        if not self._is_scheduled:
            self._is_scheduled = True
            asyncio.get_running_loop().call_soon(self._run)

    def _run(self) -> None:
        self._is_scheduled = False
        self.fill_up()
        try:
            self._admit()
            self._parse(self._usual, _PARSING_S)
            self._parse(self._costly, _COSTLY_S)
        finally:
            if self._usual or self._costly or self._waiting:
                self._schedule()

    def _admit(self) -> None:
        left = _UNITS
        while self._waiting and left > 0:
            turn, units = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                left -= units

    def _parse(self, connections: dict[Parsing, None], limit_s: float) -> None:
        until_s = time.monotonic() + limit_s
        while connections and time.monotonic() < until_s:
            connection = next(iter(connections))
            del connections[connection]
            if connection.parse_next():
                self.parse(connection)
