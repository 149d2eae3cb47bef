"""Publishing through a spool: what the broker does not confirm in time is kept on disk, and published later."""

import asyncio
from functools import partial

from hookline.aio.completion import Completion
from hookline.aio.deadlines import Deadlines, time_out
from hookline.broker.spool.breaker import Breaker
from hookline.broker.spool.buckets import BUCKETS, bucket_of
from hookline.broker.spool.drain import Drain, Primary
from hookline.broker.spool.spool import Spool
from hookline.schemas.broker import Confirm
from hookline.schemas.envelope import Envelope
from hookline.schemas.errors import NotDurable, Obstacle

_SPOOL_S = 1.0
"""How long an event that goes to the spool at once may take."""

_SPOOL_AFTER_S = 0.4
"""The same for an event that the broker has not confirmed: the sum with `after_s` is the longest answer."""


class _Flight(Completion):
    """An event at the broker, until it is durable. `kept` is its append to the spool, once it has been taken back."""

    envelope: Envelope
    bucket: int
    confirmed: Confirm
    is_probe: bool
    kept: "asyncio.Future[None] | None" = None


class SpoolingPublisher:
    """Implements `schemas.broker.Publisher`.

    The order of a bucket is kept by one rule: before an event of it goes to the spool, all events of it that are at the
    broker and not confirmed go there, in their order; and while one is there, no event of it goes to the broker but
    from the spool. An event may then be published twice, with one event id, which workers handle once.
    """

    def __init__(self, primary: Primary, spool: Spool, *, after_s: float, max_draining: int) -> None:
        self._primary = primary
        self.spool = spool
        self._held = spool.held
        self._in_flight = Deadlines[_Flight](after_s, self._overdue)
        self._at_broker = [0] * BUCKETS  # how many events of each bucket are there and not confirmed
        self._appends = Deadlines[asyncio.Future[None]](_SPOOL_S, time_out)
        self._late_appends = Deadlines[asyncio.Future[None]](_SPOOL_AFTER_S, time_out)
        self._breaker = Breaker(after_s)
        self._drain = Drain(primary, spool, self._breaker, max_draining)

    @property
    def ready(self) -> bool:
        return not self.reason

    @property
    def reason(self) -> str:
        if self.spool.fault is None:
            return ""
        return self._primary.reason or ("spool_unusable" if self._breaker.is_open else "")

    @property
    def is_broken(self) -> bool:
        """Whether the breaker is open: events go to the spool at once."""
        return self._breaker.is_open

    async def open(self) -> None:
        """Open the spool, and begin to publish what is in it. Raises nothing: its disk may come back."""
        await self.spool.open()
        self._drain.open()

    async def close(self) -> None:
        """Leave what is in the spool to the next process."""
        await self._drain.close()
        await self.spool.close()

    async def publish(self, envelope: Envelope) -> None:
        await self.begin(envelope)

    def begin(self, envelope: Envelope) -> Confirm:
        bucket, is_probe = bucket_of(envelope), self._breaker.is_open
        if (is_probe and not self._may_probe()) or bucket in self._held:
            return self._keep(envelope, bucket)
        try:
            confirmed = self._primary.begin(envelope)
        except NotDurable as error:
            if error.obstacle is Obstacle.IMPOSSIBLE:
                raise
            return self._keep(envelope, bucket)
        flight = _Flight(envelope, bucket, confirmed, is_probe)
        self._at_broker[bucket] += 1
        self._in_flight.start(flight)
        confirmed.when_ended(self._settle, flight)
        return flight

    def _settle(self, flight: _Flight, error: BaseException | None) -> None:
        """End an event that the broker has confirmed; have any other one kept."""
        if error is not None and flight.kept is None:
            self._take_back_all(flight.bucket)
        self._at_broker[flight.bucket] -= 1
        self._in_flight.stop(flight)
        if error is not None:
            self._end_when_kept(flight)
            return
        if flight.is_probe:
            self._breaker.close()
        flight.end(None)

    def _may_probe(self) -> bool:
        """Whether a live event may try the broker, since there is no spooled one to do so."""
        return not self.spool.events and self._breaker.lets_one_through()

    def _keep(self, envelope: Envelope, bucket: int) -> Confirm:
        """Keep an event in the spool at once. Raises NotDurable."""
        if self._at_broker[bucket]:
            self._take_back_all(bucket)
        event = Completion()
        _end_when_written(event, self.spool.append(envelope, bucket), self._appends)
        return event

    def _end_when_kept(self, flight: _Flight) -> None:
        """End an event that was taken back from the broker."""
        if flight.kept is not None:
            _end_when_written(flight, flight.kept, self._late_appends)
        else:
            flight.end(NotDurable("the event was not taken back from the broker"))

    def _overdue(self, flight: _Flight) -> None:
        """Take back everything: what comes later would overtake it in the spool."""
        self._breaker.open()
        for each in (flight, *self._in_flight.running):
            self._take_back(each)

    def _take_back_all(self, bucket: int) -> None:
        """Take back the events of a bucket that are at the broker and not confirmed, in their order."""
        for flight in [each for each in self._in_flight.running if each.bucket == bucket]:
            self._take_back(flight)

    def _take_back(self, flight: _Flight) -> None:
        """Have an event written to the spool that is not confirmed."""
        self._in_flight.stop(flight)
        try:
            flight.kept = self.spool.append(flight.envelope, flight.bucket)
        except NotDurable as error:
            flight.kept = asyncio.get_running_loop().create_future()
            flight.kept.set_exception(error)
            flight.kept.exception()  # retrieved, if its caller does not wait any more
        flight.confirmed.cancel()


def _end_when_written(
    event: Completion, kept: "asyncio.Future[None]", waits: "Deadlines[asyncio.Future[None]]"
) -> None:
    """End an event once it is on disk, or with NotDurable; at the latest with these deadlines."""
    waits.start(kept)
    kept.add_done_callback(partial(_end, event, waits))


def _end(event: Completion, waits: "Deadlines[asyncio.Future[None]]", kept: "asyncio.Future[None]") -> None:
    waits.stop(kept)
    error = NotDurable("the spool was closed") if kept.cancelled() else kept.exception()
    is_late = isinstance(error, TimeoutError)
    event.end(NotDurable("the event was not written to the spool in time") if is_late else error)
