"""A channel to declare on, used once: a declaration that differs from what exists closes its channel."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiormq.abc import AbstractChannel, AbstractConnection
from aiormq.exceptions import ChannelPreconditionFailed

from hookline.broker.rabbitmq.connection import bounded, open_channel
from hookline.schemas.errors import SettingsError

_ANOTHER_FORM = "drain and delete it there, or give the worker's queue another name"


@asynccontextmanager
async def declaring(
    connection: AbstractConnection, timeout_s: float, name: str, remedy: str = _ANOTHER_FORM, *, confirms: bool = False
) -> AsyncIterator[AbstractChannel]:
    """A channel for the declarations of `name`. Raises Unreachable, or SettingsError if it exists in another form."""
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
