"""Publishing to the embedded queue."""

import asyncio
import logging
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

from hookline.aio.completion import Completion
from hookline.aio.deadlines import Deadlines, time_out
from hookline.aio.throttle import Outage
from hookline.broker.embedded import history_tables, tables
from hookline.broker.embedded.write_probe import WriteProbe
from hookline.schemas.broker import NOTHING_KEPT, WAITING_FACTOR, Confirm, Retention
from hookline.schemas.envelope import Envelope
from hookline.schemas.errors import NotDurable, Unreachable
from hookline.sqlite.database import Database

log = logging.getLogger("hookline.broker")

_HEADERS_BYTES = 1024  # about what an envelope takes beside its body
_DROP_BESIDES = 64  # the history drops more than is stored, so that it can shrink
_ROOM_S = 1.0
_TOO_MANY = "too many events are being written"

Answers: TypeAlias = Sequence[Exception | None]


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
        self._written: asyncio.Future[Answers] | None = None
        self._confirms: list[Completion] = []
        self._writing = Deadlines[asyncio.Future[Answers]](limits.publish_timeout_s, time_out)
        self._line = Line(min(limits.publish_timeout_s, _ROOM_S), limits)
        database.on_written(self._let_in)
        self._outage = Outage()
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
        await self.begin(envelope)

    def begin(self, envelope: Envelope) -> Confirm:
        confirmed = Completion()
        if self._is_full or self._line:
            self._line.join(confirmed, envelope)
        else:
            self._write(confirmed, envelope)
        return confirmed

    async def close(self) -> None:
        """Return once the events in flight are written or timed out."""
        while writing := [written for written in self._writing.running if not written.done()]:
            await asyncio.wait(writing)
        self._writing.close()
        await self._probe.close()

    def _write(self, confirmed: Completion, envelope: Envelope) -> None:
        """Have an envelope written. Raises NotDurable."""
        try:
            written = self._database.join(self._store, envelope, _bytes_of(envelope))
        except Unreachable as error:
            raise self._refusal(error) from None
        if written is not self._written:
            self._begin_turn(written)
        self._confirms.append(confirmed)

    def _begin_turn(self, written: "asyncio.Future[Answers]") -> None:
        """All envelopes of one turn of the event loop end with one future, and have one deadline."""
        self._written, self._confirms = written, []
        self._writing.start(written)
        written.add_done_callback(partial(self._settle, self._confirms))

    def _let_in(self) -> None:
        """Write envelopes that wait, as far as there is room."""
        while self._line and not self._is_full:
            confirmed, envelope = self._line.next()
            if confirmed.done():  # its caller has stopped waiting
                continue
            try:
                self._write(confirmed, envelope)
            except NotDurable as error:
                confirmed.end(error)

    def _settle(self, confirms: Sequence[Completion], written: "asyncio.Future[Answers]") -> None:
        self._writing.stop(written)
        failure = written.exception()
        answers: Sequence[BaseException | None]
        answers = written.result() if failure is None else [failure] * len(confirms)
        count = answers.count(None)
        if count:
            if self._outage.ends():
                log.info("events can be written again")
            self._probe.succeeded(count)
            self._wake()
        for confirmed, error in zip(confirms, answers, strict=True):
            confirmed.end(error if error is None else self._failure(error))

    def _failure(self, error: BaseException) -> BaseException:
        """What a publish ends with that was not written."""
        if isinstance(error, NotDurable | Unreachable | TimeoutError):
            self._probe.failed(error)
            return self._refusal(error)
        return error

    def _refusal(self, error: NotDurable | Unreachable | TimeoutError) -> NotDurable:
        match error:
            case NotDurable():
                return error
            case TimeoutError():
                return NotDurable("the event was not written in time")
            case _:
                if (due := self._outage.due(str(error))) is not None:
                    log.error("events cannot be written: %s", due)
                return NotDurable("the event could not be written")

    def _store(self, connection: sqlite3.Connection, envelopes: Sequence[Envelope]) -> list[Exception | None]:
        """Store events if there is room. Old history is dropped either way."""
        limits = self._limits
        found = tables.state(connection)
        if found.history_bytes:
            history_tables.drop(connection, retention=limits.retention, at_most=2 * len(envelopes) + _DROP_BESIDES)
        try:
            tables.check_room(connection, found, limits.max_bytes)
        except NotDurable as error:
            return [error] * len(envelopes)
        self._router.store(connection, found, envelopes=envelopes, retention=limits.retention)
        return [None] * len(envelopes)


class Line:
    """Envelopes that wait for room, first come, first served, each for at most `timeout_s`.

    A crowd arrives at once when a process was frozen, or its machine was paused: the disk has not even been asked.
    """

    def __init__(self, timeout_s: float, limits: Limits) -> None:
        self._most = WAITING_FACTOR * limits.max_in_flight
        self._most_bytes = limits.max_bytes_in_flight
        self._waiting: dict[Completion, Envelope] = {}
        self._bytes = 0
        self._deadlines = Deadlines[Completion](timeout_s, self._time_out)

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def join(self, confirmed: Completion, envelope: Envelope) -> None:
        """Have an envelope wait for its turn; in the end it fails with NotDurable. Raises NotDurable without room."""
        if len(self._waiting) >= self._most or self._bytes >= self._most_bytes:
            raise NotDurable(_TOO_MANY)
        self._waiting[confirmed] = envelope
        self._bytes += _bytes_of(envelope)
        self._deadlines.start(confirmed)

    def next(self) -> tuple[Completion, Envelope]:
        """The envelope that has waited longest. It leaves the line."""
        confirmed = next(iter(self._waiting))
        self._deadlines.stop(confirmed)
        return confirmed, self._leave(confirmed)

    def _leave(self, confirmed: Completion) -> Envelope:
        envelope = self._waiting.pop(confirmed)
        self._bytes -= _bytes_of(envelope)
        return envelope

    def _time_out(self, confirmed: Completion) -> None:
        self._leave(confirmed)
        confirmed.end(NotDurable(_TOO_MANY))


def _bytes_of(envelope: Envelope) -> int:
    return len(envelope.body) + _HEADERS_BYTES
