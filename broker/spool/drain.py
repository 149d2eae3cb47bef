"""Publishes what is in the spool: the oldest first within a bucket, and next to live events of other buckets."""

import asyncio
import logging
import math
from collections import deque
from collections.abc import Sequence
from functools import partial
from typing import Protocol

from hookline.aio.causes import kind_and_place
from hookline.aio.retry_delays import RetryDelays
from hookline.broker.spool.breaker import PROBE, Breaker
from hookline.broker.spool.buckets import Taken
from hookline.broker.spool.journal import file_of
from hookline.broker.spool.spool import Spool
from hookline.schemas.broker import Confirm
from hookline.schemas.envelope import Envelope
from hookline.schemas.errors import NotDurable, Obstacle

log = logging.getLogger("hookline.broker")

_CHUNK = 64  # sent in one turn of the event loop, between which live events are sent
_POLL_S = 1.0
_QUICK_S = 0.02
_SLOW_S = 0.05
"""How much longer than the quickest confirm one may take before no more, or fewer, records are in flight."""

_FEW = 32
"""So many records may always be in flight. More only while confirms are quick: live events wait behind them."""

_CLOSE_S = 2.0
_REFUSED = RetryDelays(first_s=0.2, max_s=5.0)
_READ_AGAIN_S = 1.0
_MAX_READS = 5


class Primary(Protocol):
    """The publisher that the spool stands behind."""

    @property
    def reason(self) -> str:
        """Why a publish cannot succeed now, as a code; empty if it can."""

    def begin(self, envelope: Envelope) -> Confirm:
        """Publish; the confirm ends in time, with None or with NotDurable. Raises NotDurable if it cannot begin.

        Events reach a queue in the order of these calls, as far as they reach it.
        """


class Drain:
    """Keeps at most `limit` records in flight: one while the broker does not answer, more with each quick confirm."""

    def __init__(self, primary: Primary, spool: Spool, breaker: Breaker, limit: int) -> None:
        self._primary = primary
        self._spool = spool
        self._breaker = breaker
        self._limit = limit
        self._window = 1.0
        self._least_s = math.inf  # that a confirm took since the last failure
        self._failures = 0  # in a row, without a confirm
        self._has_failed = False
        self._refusals: dict[int, int] = {}
        self._reads: dict[int, int] = {}
        self._unread_since_s: dict[int, float] = {}  # by file, if every read of it has failed since then
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None

    def open(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Publish nothing more. Wait a little for the confirms of what is in flight."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        until_s = self._loop.time() + _CLOSE_S
        while self._spool.in_flight and self._loop.time() < until_s:
            await self._spool.changed.wait(until_s - self._loop.time())

    async def _run(self) -> None:
        """Publish until cancelled, whatever fails meanwhile."""
        while True:
            try:
                await self._publish_some()
            except Exception as error:  # noqa: BLE001  a drain that ended would leave its events in the spool
                self._fail()
                log.error("the spool: publishing failed by %s; trying again", kind_and_place(error))
            if self._has_failed:
                self._has_failed = False
                self._failures += 1
                await asyncio.sleep(PROBE.delay_s(self._failures))

    async def _publish_some(self) -> None:
        taken = self._spool.take(min(_CHUNK, int(self._window) - self._spool.in_flight))
        if taken:
            await self._publish(taken)
        else:
            resumes_s = self._spool.resumes_in_s()
            await self._spool.changed.wait(_POLL_S if resumes_s is None else min(resumes_s, _POLL_S))

    async def _publish(self, taken: Sequence[Taken]) -> None:
        left = deque(taken)
        try:
            for envelope in await self._spool.read(taken):
                if not self._go_on_with(left[0], envelope):
                    break
                left.popleft()
        finally:
            if left:
                self._spool.put_back(left)

    def _go_on_with(self, each: Taken, envelope: Envelope | ValueError | OSError) -> bool:
        """Whether the record was sent, given up, or is read again later. If not, the broker takes nothing now."""
        if isinstance(envelope, ValueError):
            self._spool.set_aside(each, str(envelope))
        elif isinstance(envelope, OSError):
            self._read_again(each, envelope)
        else:
            if self._unread_since_s:
                self._unread_since_s.pop(file_of(each.position), None)
            return self._begin(each, envelope)
        return True

    def _begin(self, each: Taken, envelope: Envelope) -> bool:
        """Whether the record was sent, or given up. If not, the broker takes nothing now."""
        try:
            confirmed = self._primary.begin(envelope)
        except NotDurable as error:
            if error.obstacle is Obstacle.IMPOSSIBLE:
                self._spool.set_aside(each, str(error))
                return True
            if error.obstacle is Obstacle.REFUSED:
                self._pause(each, error)
                return True
            self._fail()
            return False
        confirmed.when_ended(partial(self._settle, self._loop.time()), each)
        return True

    def _settle(self, sent_s: float, each: Taken, error: BaseException | None) -> None:
        if error is None:
            self._failures = 0
            self._adapt(self._loop.time() - sent_s)
            self._refusals.pop(each.bucket, None)
            self._breaker.answered(sent_s)
            self._spool.done(each)
        elif isinstance(error, NotDurable) and error.obstacle is Obstacle.REFUSED:
            self._breaker.answered(sent_s)
            self._pause(each, error)
        else:
            self._fail()
            self._spool.put_back([each])

    def _pause(self, each: Taken, error: NotDurable) -> None:
        """Try a record that was refused again later, and those of other buckets meanwhile."""
        if not self._refusals:
            log.warning("events stay in the spool: %s; trying again", error)
        refusals = self._refusals[each.bucket] = self._refusals.get(each.bucket, 0) + 1
        self._spool.put_back([each], _REFUSED.delay_s(refusals))

    def _adapt(self, took_s: float) -> None:
        """More records in flight after a quick confirm, fewer after a slow one."""
        self._least_s = min(self._least_s, took_s)
        if took_s < self._least_s + _QUICK_S or self._window < _FEW:
            self._window = min(self._window + 1, self._limit)
        elif took_s > self._least_s + _SLOW_S:
            self._window = max(self._window - 0.5, min(_FEW, self._limit))

    def _fail(self) -> None:
        self._has_failed = True
        self._window = 1.0
        self._least_s = math.inf

    def _read_again(self, each: Taken, error: OSError) -> None:
        """Try a few times more, unless nothing of its file could be read for as long: the file may be gone."""
        now_s = self._loop.time()
        reads = self._reads.pop(each.position, 0) + 1
        unread_s = now_s - self._unread_since_s.setdefault(file_of(each.position), now_s)
        if reads < _MAX_READS and unread_s < _MAX_READS * _READ_AGAIN_S:
            self._reads[each.position] = reads
            self._spool.put_back([each], _READ_AGAIN_S)
        else:
            self._spool.set_aside(each, f"it cannot be read: {error}")
