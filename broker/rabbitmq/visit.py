"""A connection that looks at RabbitMQ and leaves: it declares nothing, and does not reconnect."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiormq.abc import AbstractConnection

from hookline.aio.pulse import Pulse
from hookline.broker.rabbitmq.connection import Connection, RabbitMQSettings
from hookline.broker.rabbitmq.queue_states import RabbitMQQueueStates


@asynccontextmanager
async def visiting(settings: RabbitMQSettings) -> AsyncIterator[AbstractConnection]:
    """Raises Unreachable, or SettingsError for a malformed address."""
    connection = Connection(settings, "hookline operator", Pulse())
    await connection.open()
    try:
        yield connection.require()
    finally:
        await connection.close()


@asynccontextmanager
async def visiting_queues(settings: RabbitMQSettings) -> AsyncIterator[RabbitMQQueueStates]:
    """The queues as they are. Raises Unreachable, or SettingsError for a malformed address."""
    async with visiting(settings) as connection:
        yield RabbitMQQueueStates(lambda: connection, settings.connect_timeout_s)
