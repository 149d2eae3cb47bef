"""The publishes of one channel that wait for their confirms: counted, numbered, and never left without an answer."""

import asyncio
from collections import deque

import msgspec

from hookline.aio.deadlines import Deadlines
from hookline.broker.rabbitmq.wire.encode import Frames
from hookline.schemas.errors import NotDurable

UNROUTABLE = "no queue of RabbitMQ takes the event"
_MAX_BATCH_BYTES = 256 * 1024


class Pending(msgspec.Struct):
    """A message that waits for its confirm.

    `message_id` is new for every attempt: a message that comes back is known by it, and two equal ones in flight would
    confirm the wrong one. `tag` is 0 until the message is written.
    """

    message_id: str
    frames: Frames
    confirmed: "asyncio.Future[None]"
    tag: int = 0


class Confirms:
    """Publishes in the order in which they came, which is also that of their tags, and of their time-outs."""

    def __init__(self, timeout_s: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._deadlines = Deadlines[asyncio.Future[None]](timeout_s, self._time_out)
        self._unwritten: deque[Pending] = deque()
        self._written: dict[int, Pending] = {}
        self._tag = 0
        self._has_timed_out = False  # since the last confirm

    @property
    def in_flight(self) -> int:
        """How many are neither confirmed nor refused yet, including those that nobody waits for any more."""
        return len(self._unwritten) + len(self._written)

    @property
    def is_silent(self) -> bool:
        """Whether the server owes confirms, and one of them has not come in time."""
        return self._has_timed_out and bool(self._written)

    def add(self, message_id: str, frames: Frames) -> "asyncio.Future[None]":
        """Its answer: None, or NotDurable, in time."""
        confirmed = self._loop.create_future()
        self._unwritten.append(Pending(message_id, frames, confirmed))
        self._deadlines.start(confirmed)
        return confirmed

    def next_batch(self) -> list[Pending]:
        """What is to be written next; what nobody waits for any more is left out."""
        batch: list[Pending] = []
        size = 0
        while self._unwritten and size < _MAX_BATCH_BYTES:
            pending = self._unwritten.popleft()
            if not pending.confirmed.done():
                self._tag = pending.tag = self._tag + 1
                self._written[pending.tag] = pending
                batch.append(pending)
                size += sum(map(len, pending.frames))
        return batch

    def settle(self, tag: int, *, multiple: bool, refusal: str | None = None) -> None:
        """The server's answer to a tag, or to all up to it: it has the message, or refuses it."""
        self._has_timed_out = False
        for each in self._up_to(tag) if multiple else (tag,):
            pending = self._written.pop(each, None)
            if pending is not None:
                self._answer(pending, refusal)

    def returned(self, message_id: str) -> None:
        """No queue takes this one. Its confirm is still to come, and will find it answered."""
        for pending in self._written.values():
            if pending.message_id == message_id:
                self._answer(pending, UNROUTABLE)
                return

    def refuse_unwritten(self, reason: str) -> None:
        """What was not written yet will not be."""
        for pending in self._unwritten:
            self._answer(pending, reason)
        self._unwritten.clear()

    def fail(self, reason: str) -> None:
        """Nothing more will be confirmed."""
        self.refuse_unwritten(reason)
        for pending in self._written.values():
            self._answer(pending, reason)
        self._written.clear()
        self._deadlines.close()

    async def answered(self) -> None:
        """Return once everybody has an answer."""
        while waiting := [confirmed for confirmed in self._deadlines.running if not confirmed.done()]:
            await asyncio.wait(waiting)

    def _up_to(self, tag: int) -> list[int]:
        due = []
        for each in self._written:
            if each > tag:
                break
            due.append(each)
        return due

    def _time_out(self, confirmed: "asyncio.Future[None]") -> None:
        if not confirmed.done():
            self._has_timed_out = True
            confirmed.set_exception(NotDurable("RabbitMQ did not confirm in time"))

    def _answer(self, pending: Pending, refusal: str | None) -> None:
        self._deadlines.stop(pending.confirmed)
        if pending.confirmed.done():
            return
        if refusal is None:
            pending.confirmed.set_result(None)
        else:
            pending.confirmed.set_exception(NotDurable(refusal))
