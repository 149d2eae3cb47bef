"""Publishing to the embedded queue."""

import asyncio
import logging
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hookline.aio.deadlines import Deadlines, time_out
from hookline.broker.embedded import history_tables, tables
from hookline.broker.embedded.write_probe import WriteProbe
from hookline.schemas.broker import NOTHING_KEPT, Retention
from hookline.schemas.envelope import Envelope
from hookline.schemas.errors import NotDurable, Unreachable
from hookline.sqlite.database import Database

log = logging.getLogger("hookline.broker")

_HEADERS_BYTES = 1024  # about what an envelope takes beside its body
_DROP_BESIDES = 64  # the history drops more than is stored, so that it can shrink
_WAITING_FACTOR = 10
_ROOM_S = 1.0


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of what is published: envelopes and bytes in flight, seconds to write, bytes on disk.

    In flight is what the writer holds, also after its publish has timed out. Beyond that, ten times as many envelopes,
    and as many bytes, wait for room. The history has a limit of its own, which comes on top of `max_bytes`.
    """

    max_in_flight: int = 1000
    publish_timeout_s: float = 5.0
    max_bytes: int = 10 * 2**30
    retention: Retention = NOTHING_KEPT
    max_bytes_in_flight: int = 32 * 2**20


class EmbeddedPublisher:
    """Implements `schemas.broker.Publisher`. Events published during one transaction are written in the next."""

    def __init__(self, database: Database, limits: Limits, wake: Callable[[], None]) -> None:
        self._database = database
        self._limits = limits
        self._wake = wake
        self._router = tables.Router()
        self._writing = Deadlines[asyncio.Future[None]](limits.publish_timeout_s, time_out)
        self._line = Line(min(limits.publish_timeout_s, _ROOM_S), limits)
        database.on_written(self._let_in)
        self._is_writable = True
        self._probe = WriteProbe(database, limits.max_bytes)

    @property
    def ready(self) -> bool:
        return not self.reason

    @property
    def reason(self) -> str:
        return "overloaded" if self._is_full else self._probe.lasting

    @property
    def _is_full(self) -> bool:
        database, limits = self._database, self._limits
        return database.unwritten >= limits.max_in_flight or database.unwritten_bytes >= limits.max_bytes_in_flight

    async def publish(self, envelope: Envelope) -> None:
        if self._is_full or self._line:
            written = await self._line.room(envelope)
        else:
            written = self._write(envelope)
        try:
            await self._in_time(written)
        except (NotDurable, Unreachable, TimeoutError) as error:
            self._probe.failed(error)
            raise self._refusal(error) from None
        self._is_writable = True
        self._probe.succeeded()
        self._wake()

    def begin(self, envelope: Envelope) -> "asyncio.Future[None]":
        return asyncio.ensure_future(self.publish(envelope))

    async def close(self) -> None:
        """Return once the events in flight are written or timed out."""
        while writing := [written for written in self._writing.running if not written.done()]:
            await asyncio.wait(writing)
        self._writing.close()
        await self._probe.close()

    def _refusal(self, error: NotDurable | Unreachable | TimeoutError) -> NotDurable:
        match error:
            case NotDurable():
                return error
            case TimeoutError():
                return NotDurable("the event was not written in time")
            case _:
                self._log_once(error)
                return NotDurable("the event could not be written")

    def _write(self, envelope: Envelope) -> "asyncio.Future[None]":
        return self._database.share(self._store, envelope, size=_bytes_of(envelope))

    def _let_in(self) -> None:
        """Write envelopes that wait, as far as there is room."""
        while self._line and not self._is_full:
            self._line.let_in(self._write)

    async def _in_time(self, written: "asyncio.Future[None]") -> None:
        """Raises TimeoutError, NotDurable or Unreachable."""
        self._writing.start(written)
        try:
            await written
        finally:
            self._writing.stop(written)

    def _store(self, connection: sqlite3.Connection, envelopes: Sequence[Envelope]) -> list[Exception | None]:
        """Store events if there is room. Old history is dropped either way."""
        limits = self._limits
        history_tables.drop(connection, retention=limits.retention, at_most=2 * len(envelopes) + _DROP_BESIDES)
        try:
            tables.check_room(connection, limits.max_bytes)
        except NotDurable as error:
            return [error] * len(envelopes)
        self._router.store(connection, envelopes=envelopes, retention=limits.retention)
        return [None] * len(envelopes)

    def _log_once(self, error: Unreachable) -> None:
        """Log the first error until a write succeeds, rather than one per event."""
        if self._is_writable:
            log.error("events cannot be written: %s", error)
            self._is_writable = False


class Line:
    """Envelopes that wait for room, first come, first served, each for at most `timeout_s`.

    A crowd arrives at once when a process was frozen, or its machine was paused: the disk has not even been asked.
    """

    def __init__(self, timeout_s: float, limits: Limits) -> None:
        self._most = _WAITING_FACTOR * limits.max_in_flight
        self._most_bytes = limits.max_bytes_in_flight
        self._waiting: dict[asyncio.Future[asyncio.Future[None]], Envelope] = {}
        self._bytes = 0
        self._deadlines = Deadlines[asyncio.Future[asyncio.Future[None]]](timeout_s, time_out)

    def __bool__(self) -> bool:
        return bool(self._waiting)

    async def room(self, envelope: Envelope) -> "asyncio.Future[None]":
        """The write of the envelope, once there is room for it. Raises NotDurable."""
        if len(self._waiting) >= self._most or self._bytes >= self._most_bytes:
            raise NotDurable("too many events are being written")
        turn: asyncio.Future[asyncio.Future[None]] = asyncio.get_running_loop().create_future()
        self._waiting[turn] = envelope
        self._bytes += _bytes_of(envelope)
        self._deadlines.start(turn)
        try:
            return await turn
        except TimeoutError:
            raise NotDurable("too many events are being written") from None
        finally:
            self._leave(turn)

    def let_in(self, write: "Callable[[Envelope], asyncio.Future[None]]") -> None:
        """Write the envelope that has waited longest, if its caller still waits."""
        turn, envelope = next(iter(self._waiting.items()))
        self._leave(turn)
        if not turn.done():
            turn.set_result(write(envelope))

    def _leave(self, turn: "asyncio.Future[asyncio.Future[None]]") -> None:
        self._deadlines.stop(turn)
        envelope = self._waiting.pop(turn, None)
        if envelope is not None:
            self._bytes -= _bytes_of(envelope)


def _bytes_of(envelope: Envelope) -> int:
    return len(envelope.body) + _HEADERS_BYTES
