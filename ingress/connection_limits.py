"""How many connections there may be, in all and from one address. Room for new ones is made at the cost of idle ones.

So a crowd of idle clients cannot keep genuine ones out.
"""

import heapq
import logging
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

    def force_close(self) -> None: ...


Connections = dict[Limited, float]
"""Connections in the order in which they were opened, and when that was."""

_YOUNG_S = 0.05  # what such a connection has sent may not have been read yet
_SAID_EVERY_S = 10.0
_SPARE_FILES = 32
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

    def opened(self, connection: Limited, file: int = 0) -> bool:
        """Note a connection and close others if there are too many. False if it must be closed itself."""
        address = connection.client = limited_as(connection.address)
        same = self._by_address.setdefault(address, {})
        self._open[connection] = self._new[connection] = same[connection] = time.monotonic()
        if len(same) > self._max_per_address and not self._is_trusted(connection.address):
            return self._make_room(connection, same, f"{self._max_per_address} connections from {address}")
        if len(self._open) > self._max_connections:
            return self._make_room(connection, self._open, f"{self._max_connections} connections")
        if self._max_file is not None and file > self._max_file - _SPARE_FILES:
            return self._make_room(connection, self._open, f"{self._max_file} open files")
        return True

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
        self.closed(connection)
        connection.address = address
        if not self.opened(connection):
            connection.force_close()

    def _is_trusted(self, address: str) -> bool:
        peer = read_address(address.partition("%")[0])
        return peer is not None and within(peer, self.trusted())

    def _make_room(self, newcomer: Limited, among: Connections, limit: str) -> bool:
        new = self._oldest_new(newcomer, among)
        silent = [each for each in new if time.monotonic() - among[each] >= _YOUNG_S]
        chosen = silent or self._idlest(among) or self._load.oldest_of(among) or new
        for connection in chosen:
            self.closed(connection)
            connection.force_close()
        held_back = self._throttle.admit(limit)
        if held_back is not None:
            what = "idle and slow ones are closed" if chosen else "all are busy, so new ones are closed"
            log.warning("the limit of %s is reached: %s%s", limit, what, said_less(held_back))
        return bool(chosen)

    def _oldest_new(self, newcomer: Limited, among: Connections) -> list[Limited]:
        """The oldest connection that has sent no complete head."""
        found, no_longer_new = [], []
        for connection in self._new if among is self._open else among:
            if connection is newcomer:
                break
            if connection.is_new:
                found.append(connection)
                break
            no_longer_new.append(connection)
        for connection in no_longer_new:
            self._new.pop(connection, None)
        return found

    def _idlest(self, among: Connections) -> list[Limited]:
        """The connections that wait for another request, and have waited longest."""
        idle = [(since_s, number, each) for number, each in enumerate(among) if (since_s := each.idle_since_s)]
        return [connection for _, _, connection in heapq.nsmallest(max(1, len(idle) // _AT_ONCE), idle)]
