"""The memory that unanswered requests hold, counted as their bytes arrive and bounded over all connections.

Half of it may be held by requests that are not complete. So a whole callback finds room, however many
bodies trickle in.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Protocol, TypeVar, cast

from hookline.aio.throttle import Throttle, said_less
from hookline.schemas.errors import Overloaded

HEADER_BYTES = 400
"""What Python holds for a header beside its text, and for a line of a head that is not complete."""
REQUEST_BYTES = 4096
"""What a request holds beside its bytes: its task, its stream, its time-out."""
_STALLED_S = 1.0
_SAID_EVERY_S = 10.0

log = logging.getLogger("hookline.ingress")


class Reading(Protocol):
    """A connection that holds a part of a request."""

    held_bytes: int

    def shed(self) -> None:
        """Answer 503 and read no more of the request."""


R = TypeVar("R")


class Load:
    """What all connections of the process hold. `held_bytes` is changed in place, since a call would cost more."""

    def __init__(self, max_bytes: int, max_per_address: int, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.held_bytes = 0
        self.max_bytes = max_bytes
        self.max_partial_bytes = max_bytes // 2
        self._max_per_address = max_per_address
        self._monotonic = monotonic
        self._throttle = Throttle(_SAID_EVERY_S, monotonic)
        self._partial: dict[Reading, tuple[float, str]] = {}  # when it began, for whom; the oldest first
        self._by_address: Counter[str] = Counter()

    def begin_head(self, connection: Reading, address: str) -> None:
        """Note a request whose head is not complete."""
        self._partial[connection] = (self._monotonic(), address)
        self._by_address[address] += 1

    def begin_body(self, connection: Reading, address: str) -> None:
        """Note a request whose body is not complete. Raises Overloaded if its address has too many of them."""
        if address and self._by_address[address] >= self._max_per_address:
            raise Overloaded("too many requests of this address are incomplete")
        self.begin_head(connection, address)

    def end(self, connection: Reading) -> None:
        """Forget such a request, if it was noted."""
        noted = self._partial.pop(connection, None)
        if noted is not None:
            self._by_address[noted[1]] -= 1
            if not self._by_address[noted[1]]:
                del self._by_address[noted[1]]

    def hold(self, connection: Reading, count: int) -> None:
        """Count more bytes for a connection; fewer if negative."""
        connection.held_bytes += count
        self.held_bytes += count

    def make_room(self, connection: Reading, limit_bytes: int) -> None:
        """Shed requests until no more than the limit is held: the oldest incomplete ones that may go, then this one.

        One that is stalled may go, and one whose client has more incomplete requests than this one's. So a single
        client that takes all room keeps no other out.
        """
        held_back = self._throttle.admit("") if self.held_bytes > limit_bytes else None
        if held_back is not None:
            log.warning(
                "requests hold %d bytes, the most they may: some are refused%s", limit_bytes, said_less(held_back)
            )
        while self.held_bytes > limit_bytes:
            oldest = next(iter(self._partial), connection)
            given_up = oldest if self._may_go(oldest, connection) else connection
            self.shed(given_up)
            if given_up is connection:
                return

    def _may_go(self, oldest: Reading, newcomer: Reading) -> bool:
        if oldest is newcomer:
            return True
        began_s, address = self._partial[oldest]
        own = self._partial.get(newcomer)
        fewer = self._by_address[own[1]] if own else 0
        return self._by_address[address] > fewer or self._monotonic() - began_s >= _STALLED_S

    def oldest_of(self, among: Mapping[R, object]) -> list[R]:
        """The connection of the oldest incomplete request among these; an empty list if none has one."""
        return next(([cast("R", connection)] for connection in self._partial if connection in among), [])

    def shed(self, connection: Reading) -> None:
        self.end(connection)
        self.hold(connection, -connection.held_bytes)
        connection.shed()
