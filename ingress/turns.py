"""Turns for work that costs more than a usual request, so that a crowd of it holds up no other."""

import asyncio
import time
from collections import deque
from typing import Protocol

_PARSING_S = 0.005
_REQUESTS = 4


class Parsing(Protocol):
    def parse_next(self) -> bool:
        """Parse a small part of what waits; whether more can be parsed now."""


class Turns:
    """Does a few milliseconds of such work in each turn of the event loop, a little for each connection.

    A body in chunks of two bytes costs forty times as much to parse as the same body in one piece. To verify a large
    body costs as much as several small ones, and clients that pipeline have a request at hand in each turn.
    """

    def __init__(self) -> None:
        self._parsing: dict[Parsing, None] = {}
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._is_scheduled = False

    def parse(self, connection: Parsing) -> None:
        """Call `parse_next` in some of the next turns, until it returns False."""
        self._parsing[connection] = None
        self._schedule()

    async def wait(self) -> None:
        """Wait for a turn; those who asked earlier have theirs first."""
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        self._schedule()
        await turn

    def _schedule(self) -> None:
        if not self._is_scheduled:
            self._is_scheduled = True
            asyncio.get_running_loop().call_soon(self._run)

    def _run(self) -> None:
        self._is_scheduled = False
        for _ in range(min(_REQUESTS, len(self._waiting))):
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
        self._parse()
        if self._parsing or self._waiting:
            self._schedule()

    def _parse(self) -> None:
        until_s = time.monotonic() + _PARSING_S
        while self._parsing and time.monotonic() < until_s:
            connection = next(iter(self._parsing))
            has_more = connection.parse_next()
            del self._parsing[connection]
            if has_more:
                self._parsing[connection] = None
