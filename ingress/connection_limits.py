"""How many connections there may be, in all and from one address. Room for new ones is made at the cost of idle ones.

So a crowd of idle clients cannot keep genuine ones out.
"""

import fcntl
import heapq
import logging
import termios
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from hookline.aio.throttle import Throttle, said_less
from hookline.ingress.client_address import Network, limited_as, read_address, within
from hookline.ingress.load import Load
from hookline.ingress.settings import IngressSettings

log = logging.getLogger("hookline.ingress")


class Limited(Protocol):
    """A connection, or one that is to become one."""

    address: str
    client: str

    @property
    def is_new(self) -> bool: ...

    @property
    def idle_since_s(self) -> float | None: ...

    @property
    def is_pipelining(self) -> bool: ...

    def force_close(self) -> None: ...

    def give_way(self) -> None:
        """Close at once, so that its file is free. What the client has not read is lost."""


Connections = dict[Limited, tuple[float, int]]
"""Connections in the order in which they were opened, when that was, and the file of each."""

_SILENT_S = 0.2  # a client may take so long from connecting to its first bytes
_BURST = 32
_SMALL_BURST = 4
_ROOM = 2 * _BURST  # a turn goes on as it began
_SAID_EVERY_S = 10.0
_SPARE_FILES = 32
_LOOKS = 8  # at so many connections, to find one that has sent nothing
_AT_ONCE = 100  # one in so many idle ones is closed at a time, since finding the idlest costs a look at all


class ConnectionLimits:
    """The open connections, and those of each address in the order in which they were opened.

    `max_file` is the highest number that a file of the process may have; above it connections are closed as above the
    limit, before the operating system refuses more. The addresses of trusted proxies have no limit of their own.
    """

    def __init__(
        self, settings: IngressSettings, load: Load, trusted: Callable[[], Sequence[Network]], max_file: int | None
    ) -> None:
        self._max_connections = settings.max_connections
        self._max_per_address = settings.max_connections_per_address
        self._load = load
        self.trusted = trusted
        self._max_file = max_file
        self._throttle = Throttle(_SAID_EVERY_S)
        self._open: Connections = {}
        self._new: Connections = {}
        self._by_address: dict[str, Connections] = {}
        self._newest_address = ""

    def opened(self, connection: Limited, file: int) -> bool:
        """Note a connection and close others if there are too many. False if it must be closed itself."""
        same = self._note(connection, file)
        if self._exceeds(connection, same):
            return self._make_room_for_address(connection, same)
        if len(self._open) > self._max_connections:
            return self._make_room(connection, self._open, f"{self._max_connections} connections")
        if self._max_file is not None and file > self._max_file - _SPARE_FILES:
            return self._make_room(connection, self._open, f"{self._max_file} open files")
        return True

    def burst(self) -> int:
        """How many connections may be accepted in a turn of the event loop.

        Near a limit each new one costs another its place, and a client needs a moment to send its first bytes.
        """
        same = self._by_address.get(limited_as(self._newest_address), {})
        if len(same) + _ROOM > self._max_per_address and not self._is_trusted(self._newest_address):
            return 1
        return _BURST if len(self._open) + _ROOM <= self._max_connections else _SMALL_BURST

    def _note(self, connection: Limited, file: int) -> Connections:
        """Note a connection; returns all of its address."""
        self._newest_address = connection.address
        address = connection.client = limited_as(connection.address)
        same = self._by_address.setdefault(address, {})
        self._open[connection] = self._new[connection] = same[connection] = (time.monotonic(), file)
        return same

    def closed(self, connection: Limited) -> None:
        self._open.pop(connection, None)
        self._new.pop(connection, None)
        same = self._by_address.get(connection.client)
        if same is not None:
            same.pop(connection, None)
            if not same:
                del self._by_address[connection.client]

    def rename(self, connection: Limited, address: str) -> None:
        """Count a connection for the address that a proxy names, and close it if that has too many."""
        _, file = self._open.get(connection, (0.0, 0))
        self.closed(connection)
        connection.address = address
        same = self._note(connection, file)
        if self._exceeds(connection, same) and not self._make_room_for_address(connection, same):
            connection.force_close()

    def _exceeds(self, connection: Limited, same: Connections) -> bool:
        return len(same) > self._max_per_address and not self._is_trusted(connection.address)

    def _make_room_for_address(self, connection: Limited, same: Connections) -> bool:
        return self._make_room(connection, same, f"{self._max_per_address} connections from {connection.client}")

    def _is_trusted(self, address: str) -> bool:
        peer = read_address(address.partition("%")[0])
        return peer is not None and within(peer, self.trusted())

    def _make_room(self, newcomer: Limited, among: Connections, limit: str) -> bool:
        new = self._oldest_new(newcomer, among)
        silent = [
            each for each in new if time.monotonic() - among[each][0] >= _SILENT_S and not _has_unread(among[each][1])
        ]
        chosen = silent or self._idlest(among) or self._load.oldest_of(among) or _first_pipelining(among) or new
        for connection in chosen:
            self.closed(connection)
            connection.give_way()
        held_back = self._throttle.admit(limit)
        if held_back is not None:
            what = "idle and slow ones are closed" if chosen else "all are busy, so new ones are closed"
            log.warning("the limit of %s is reached: %s%s", limit, what, said_less(held_back))
        return bool(chosen)

    def _oldest_new(self, newcomer: Limited, among: Connections) -> list[Limited]:
        """The oldest connection that has sent no complete head, if there is one that has sent nothing unread."""
        found: list[Limited] = []
        first: list[Limited] = []
        no_longer_new, looks = [], 0
        for connection in self._new if among is self._open else among:
            if connection is newcomer or looks == _LOOKS:
                break
            if not connection.is_new:
                no_longer_new.append(connection)
            elif not _has_unread(among[connection][1]):
                found.append(connection)
                break
            else:
                first = first or [connection]
                looks += 1
        for connection in no_longer_new:
            self._new.pop(connection, None)
        return found or first

    def _idlest(self, among: Connections) -> list[Limited]:
        """The connections that wait for another request, and have waited longest; first those that are of no use."""
        waits = ((each.idle_since_s, number, each) for number, each in enumerate(among))
        idle = [(since_s, number, each) for since_s, number, each in waits if since_s is not None]
        return [connection for _, _, connection in heapq.nsmallest(max(1, len(idle) // _AT_ONCE), idle)]


def _first_pipelining(among: Connections) -> list[Limited]:
    """The oldest connection that is never idle, since it sends requests before it has its answers. No provider does."""
    return next(([connection] for connection in among if connection.is_pipelining), [])


def _has_unread(file: int) -> bool:
    """Whether a part of what the client has sent waits in the kernel. In a crowd it may wait for some time."""
    nothing = bytes(4)
    try:
        return fcntl.ioctl(file, termios.FIONREAD, nothing) != nothing
    except OSError:  # closed meanwhile
        return False
