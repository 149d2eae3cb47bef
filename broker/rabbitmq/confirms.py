"""The messages of one publish channel that wait for their confirms. Each gets an answer in time."""

import math
import time
from collections import deque
from collections.abc import Iterator, Mapping
from itertools import chain, takewhile
from typing import TypeAlias

from hookline.aio.completion import Completion
from hookline.aio.deadlines import PatientTimer
from hookline.aio.refusal_tally import RefusalTally
from hookline.broker.rabbitmq.wire.encode import EnvelopeTemplate, Message
from hookline.schemas.envelope import Envelope
from hookline.schemas.errors import NotDurable, Obstacle

UNROUTABLE = "no queue of RabbitMQ takes the event"
REFUSED = "a queue of RabbitMQ refused the event"
LATE = "RabbitMQ did not confirm in time"
CLOSED = "RabbitMQ has closed the channel because of an event"
_LASTING: Mapping[str, str] = {REFUSED: "queue_full", UNROUTABLE: "unroutable"}
_ANSWERED = frozenset({*_LASTING, CLOSED})
_MAX_BATCH_BYTES = 256 * 1024
_HEADERS_BYTES = 500  # as most messages have


Content: TypeAlias = Message | tuple[EnvelopeTemplate, Envelope]
"""What is to be written: a message, or an envelope to make one of."""

_WRITTEN = Message("", "", {}, "", b"")
"""Instead of a content that is written, and need not be kept any more: bodies may be large."""


class Pending(Completion):
    """A message that waits for its confirm, with which it ends, until `due_s` of the monotonic clock."""

    content: Content
    body_bytes: int
    due_s: float


class Confirms:
    """Messages in the order of `add`, which is also the order of their delivery tags and of their time-outs.

    `acks` and `nacks` count what the server has sent. The tally outlives the channel.
    """

    def __init__(
        self, timeout_s: float, tally: RefusalTally, most_written: float = math.inf, most: float = math.inf
    ) -> None:
        """Messages beyond `most_written` wait until others are confirmed. Those beyond `most` are not taken."""
        self._tally = tally
        self._most_written = most_written
        self._most = most
        self.acks = 0
        self.nacks = 0
        self._timeout_s = timeout_s
        self._timer = PatientTimer(self._look)
        self.unwritten: deque[Pending] = deque()
        """The messages that wait to be written. Only this class changes it."""
        self._written: dict[int, Pending] = {}
        self._tag = 0
        self._has_timed_out = False  # since the last confirm
        self._failure = ""  # why no confirm will come any more

    @property
    def in_flight(self) -> int:
        """How many messages have no confirm yet, including those whose caller has stopped waiting."""
        return len(self.unwritten) + len(self._written)

    @property
    def is_full(self) -> bool:
        """Whether no more messages are taken until others are confirmed."""
        return self.in_flight >= self._most

    @property
    def is_waiting(self) -> bool:
        """Whether confirms are outstanding."""
        return bool(self._written)

    @property
    def is_silent(self) -> bool:
        """Whether confirms are outstanding and one of them is late."""
        return self._has_timed_out and bool(self._written)

    def add(self, content: Content, body_bytes: int) -> Pending:
        """The message, which ends in time: with None once it is confirmed, or with NotDurable.

        Raises NotDurable after `fail`, and for a message too many.
        """
        if self._failure:
            raise NotDurable(self._failure)
        if len(self.unwritten) + len(self._written) >= self._most:
            raise NotDurable("too many events are being published")
        pending = Pending(content, body_bytes, time.monotonic() + self._timeout_s)
        self.unwritten.append(pending)
        if not self._timer.is_set:
            self._timer.set(self._timeout_s)
        return pending

    def next_batch(self) -> list[tuple[int, Content]]:
        """The delivery tags and contents to write next. Messages whose caller has stopped waiting are dropped."""
        batch: list[tuple[int, Content]] = []
        tag, size, unwritten, written = self._tag, 0, self.unwritten, self._written
        while unwritten and size < _MAX_BATCH_BYTES and len(written) < self._most_written:
            pending = unwritten.popleft()
            if pending.done():
                continue
            tag += 1
            written[tag] = pending
            batch.append((tag, pending.content))
            pending.content = _WRITTEN
            size += pending.body_bytes + _HEADERS_BYTES
        self._tag = tag
        return batch

    def settle(self, tag: int, *, multiple: bool, refusal: str | None = None) -> None:
        """The server has confirmed a tag, or all tags up to it; or, with a `refusal`, has refused them."""
        self._has_timed_out = False
        if refusal is None:
            self.acks += 1
        elif refusal is REFUSED:
            self.nacks += 1
        written, tally = self._written, self._tally
        for each in list(takewhile(tag.__ge__, written)) if multiple else (tag,):
            pending = written.pop(each, None)
            if pending is None:
                continue
            if refusal is not None:
                self._refuse(pending, refusal)
            elif pending.end(None) and tally.count:
                tally.accepted()

    def returned(self, tag: int) -> None:
        """The server has returned a message that no queue takes. Its confirm comes later and changes nothing."""
        pending = self._written.get(tag)
        if pending is not None:
            self._refuse(pending, UNROUTABLE)

    def refuse_unwritten(self, reason: str) -> None:
        """Refuse the messages that are not written yet."""
        unwritten, self.unwritten = self.unwritten, deque()
        for pending in unwritten:
            self._refuse(pending, reason)

    def fail(self, reason: str) -> None:
        """Refuse all messages, also later ones: no confirm will come any more."""
        self._failure = reason
        self.refuse_unwritten(reason)
        written, self._written = self._written, {}
        for pending in written.values():
            self._refuse(pending, reason)
        self._timer.close()

    async def answered(self) -> None:
        """Return once every message has an answer."""
        while waiting := [pending for pending in self._unsettled() if not pending.done()]:
            for pending in waiting:
                await pending.ended()

    def _unsettled(self) -> Iterator[Pending]:
        """The messages without a confirm, in the order of their deadlines."""
        return chain(self._written.values(), self.unwritten)

    def _look(self, pause_s: float) -> float | None:
        """Refuse the messages that are late; return in how many seconds the next one is."""
        if pause_s:
            for pending in self._unsettled():
                pending.due_s += pause_s
        now_s = time.monotonic()
        for pending in list(takewhile(lambda pending: pending.due_s <= now_s, self._undecided())):
            pending.due_s = math.inf
            self._time_out(pending)
        following = next(self._undecided(), None)
        return None if following is None else following.due_s - now_s

    def _undecided(self) -> Iterator[Pending]:
        """Those that are neither late nor refused."""
        return (pending for pending in self._unsettled() if pending.due_s < math.inf)

    def _time_out(self, pending: Pending) -> None:
        self._has_timed_out = True  # also if its caller has stopped waiting
        pending.end(NotDurable(LATE))

    def _refuse(self, pending: Pending, refusal: str) -> None:
        pending.due_s = math.inf  # a returned message still has its confirm
        obstacle = Obstacle.REFUSED if refusal in _ANSWERED else Obstacle.AWAY
        if pending.end(NotDurable(refusal, obstacle)) and refusal in _LASTING:
            self._tally.refused(_LASTING[refusal])
