"""Declaring exchanges, queues and bindings, also for a user who may not declare all of them."""

from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from aiormq.abc import AbstractChannel, AbstractConnection
from aiormq.exceptions import ChannelAccessRefused, ChannelNotFoundEntity, ChannelPreconditionFailed

from hookline.broker.rabbitmq.connection import bounded, open_channel
from hookline.broker.rabbitmq.wire.connection_state import server_reason
from hookline.schemas.errors import SettingsError

_ANOTHER_FORM = "drain and delete it there, or give the worker's queue another name"


class Refused(SettingsError):
    """The user at RabbitMQ lacks a right. The cause is what the server said."""


@dataclass(frozen=True, slots=True)
class DurableExchange:
    name: str
    kind: str
    arguments: Mapping[str, Any] = field(default_factory=dict, hash=False)

    async def declare(self, channel: AbstractChannel) -> None:
        await channel.exchange_declare(
            self.name, exchange_type=self.kind, durable=True, arguments=dict(self.arguments) or None
        )

    async def look(self, channel: AbstractChannel) -> None:
        await channel.exchange_declare(self.name, exchange_type=self.kind, passive=True)


@dataclass(frozen=True, slots=True)
class DurableQueue:
    name: str
    arguments: Mapping[str, Any] = field(hash=False)

    async def declare(self, channel: AbstractChannel) -> None:
        await channel.queue_declare(self.name, durable=True, arguments=dict(self.arguments))

    async def look(self, channel: AbstractChannel) -> None:
        await channel.queue_declare(self.name, passive=True)


@dataclass(frozen=True, slots=True)
class QueueBinding:
    """AMQP does not show bindings, so one that may not be declared counts as there."""

    name: str
    exchange: str
    key: str = ""

    async def declare(self, channel: AbstractChannel) -> None:
        await channel.queue_bind(self.name, self.exchange, self.key)

    async def look(self, channel: AbstractChannel) -> None:
        """Nothing can be seen."""


@dataclass(frozen=True, slots=True)
class ExchangeBinding:
    """An exchange that gets what another one gets. It cannot be seen either."""

    name: str
    source: str

    async def declare(self, channel: AbstractChannel) -> None:
        await channel.exchange_bind(self.name, self.source)

    async def look(self, channel: AbstractChannel) -> None:
        """Nothing can be seen."""


Declaration: TypeAlias = DurableExchange | DurableQueue | QueueBinding | ExchangeBinding


async def declare_all(
    connection: AbstractConnection,
    declarations: Sequence[Declaration],
    timeout_s: float,
    name: str,
    remedy: str = _ANOTHER_FORM,
    forbidden: set[Declaration] | None = None,
) -> None:
    """Declare what is missing, in this order. Without the right to declare something, only check that it exists.

    `forbidden` keeps what this user may not declare, so that the next call does not ask for it while it exists. Raises
    Unreachable, Refused if something is missing that this user may not declare, or SettingsError if something exists
    in another form.
    """
    left, forbidden = deque(declarations), set() if forbidden is None else forbidden
    while left:
        try:
            async with declaring(connection, timeout_s, name, remedy) as channel:
                await _declare_on(channel, left, forbidden)
        except Refused as refused:  # which has closed the channel
            what = left.popleft()
            await _require(connection, what, timeout_s, refused)
            forbidden.add(what)


async def _declare_on(channel: AbstractChannel, left: deque[Declaration], forbidden: set[Declaration]) -> None:
    while left:
        what = left[0]
        if what not in forbidden:
            await what.declare(channel)
        else:
            try:
                await what.look(channel)
            except ChannelNotFoundEntity:  # which has closed the channel; the next one asks for it
                forbidden.discard(what)
                return
        left.popleft()


async def _require(connection: AbstractConnection, what: Declaration, timeout_s: float, refused: Refused) -> None:
    async with bounded(timeout_s, f"looking at {what.name}"), open_channel(connection, timeout_s) as channel:
        try:
            await what.look(channel)
        except ChannelNotFoundEntity:
            reason = server_reason(refused.__cause__)
            raise Refused(
                f"RabbitMQ has no {what.name}, and this user lacks the right to declare it (configure): {reason}; "
                "run `hookline topology apply` as a user that has it"
            ) from None


@asynccontextmanager
async def declaring(
    connection: AbstractConnection, timeout_s: float, name: str, remedy: str = _ANOTHER_FORM, *, confirms: bool = False
) -> AsyncIterator[AbstractChannel]:
    """A channel for the declarations of `name`, which ends with the first that fails.

    Raises Unreachable, Refused, or SettingsError if it exists in another form.
    """
    async with (
        bounded(timeout_s, f"declaring {name}"),
        open_channel(connection, timeout_s, confirms=confirms) as channel,
    ):
        try:
            yield channel
        except ChannelPreconditionFailed as error:
            raise SettingsError(
                f"RabbitMQ has {name}, or what belongs to it, in another form ({error}): {remedy}"
            ) from None
        except ChannelAccessRefused as error:
            raise Refused(
                f"RabbitMQ does not let this user declare {name}, or what belongs to it: {server_reason(error)}"
            ) from error
