"""A model of RabbitMQ for a publisher: one channel with confirms to one queue, and whatever may go wrong with it."""

import asyncio
import random
from collections import deque
from typing import Literal, TypeAlias

from hookline.aio.completion import Completion
from hookline.schemas.envelope import Envelope
from hookline.schemas.errors import NotDurable, Obstacle

Mode: TypeAlias = Literal["ok", "silent", "one way", "paused", "refusing", "blocked", "away"]
"""How the server behaves.

silent: it takes nothing now, and everything later, in order. one way: it takes everything, and confirms late. paused:
the socket takes nothing, and drops what nobody waits for any more. refusing: a nack or a return for most. blocked: an
alarm, so each publish fails soon. away: no connection.
"""
MODES: tuple[Mode, ...] = ("silent", "one way", "paused", "blocked", "away")

_CONFIRM_TIMEOUT_S = 5.0
_MAX_IN_FLIGHT = 12


class _Message:
    __slots__ = ("confirmed", "event_id")

    def __init__(self, event_id: str, confirmed: Completion) -> None:
        self.event_id = event_id
        self.confirmed = confirmed


class ModelBroker:
    """Implements Primary. `arrived` holds the ids of the events in the queue, in its order, repeats included."""

    def __init__(self, chance: random.Random) -> None:
        self.arrived: list[str] = []
        self.mode: Mode = "ok"
        self._chance = chance
        self._loop = asyncio.get_running_loop()
        self._channel: deque[_Message] = deque()
        self._unconfirmed: list[_Message] = []  # arrived one way

    @property
    def reason(self) -> str:
        return "" if self.mode == "ok" else "broker_silent"

    def begin(self, envelope: Envelope) -> Completion:
        if self.mode == "away":
            raise NotDurable("away")
        if len(self._channel) + len(self._unconfirmed) >= _MAX_IN_FLIGHT:
            raise NotDurable("too many")
        message = _Message(envelope.id, Completion())
        if self.mode == "blocked":
            self._loop.call_soon(_fail, message, "an alarm")
            return message.confirmed
        self._channel.append(message)
        self._loop.call_later(self._chance.uniform(0.001, 0.02), self._serve)
        self._loop.call_later(_CONFIRM_TIMEOUT_S, _fail, message, "no confirm")
        return message.confirmed

    def turn(self, mode: Mode) -> None:
        """Behave in another way from now on."""
        if self.mode == "paused":
            self._drop_unwaited()
        if mode == "away" or self.mode == "away":
            self._lose()
        self.mode = mode
        if mode in ("ok", "refusing"):
            for message in self._unconfirmed:
                self._confirm(message)
            self._unconfirmed.clear()
            while self._channel:
                self._serve()

    def forget(self) -> None:
        """The publishing process has died: its channel is lost."""
        self._lose()

    def _lose(self) -> None:
        """The connection is lost: of what was written, a part has arrived."""
        for _ in range(self._chance.randint(0, len(self._channel))):
            self.arrived.append(self._channel.popleft().event_id)
        for message in (*self._unconfirmed, *self._channel):
            _fail(message, "the connection was lost")
        self._unconfirmed.clear()
        self._channel.clear()

    def _drop_unwaited(self) -> None:
        """Of what the socket did not take, nothing is written that nobody waits for any more."""
        self._channel = deque(message for message in self._channel if not message.confirmed.done())

    def _serve(self) -> None:
        """Take the next message, if the server takes any."""
        if self.mode in ("silent", "blocked", "away", "paused") or not self._channel:
            return
        message = self._channel.popleft()
        if self.mode == "refusing" and self._chance.random() < 0.7:
            message.confirmed.end(NotDurable("a queue is full", Obstacle.REFUSED))
            return
        self.arrived.append(message.event_id)
        if self._chance.random() < 0.02:
            self.arrived.append(message.event_id)  # a server repeats what it confirmed to nobody
        if self.mode == "one way":
            self._unconfirmed.append(message)
        else:
            self._loop.call_later(self._chance.uniform(0, 0.01), self._confirm, message)

    @staticmethod
    def _confirm(message: _Message) -> None:
        message.confirmed.end(None)


def _fail(message: _Message, text: str) -> None:
    message.confirmed.end(NotDurable(text))
