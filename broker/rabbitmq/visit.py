"""A connection that looks at RabbitMQ and leaves: it declares nothing by itself, and does not reconnect."""

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager

from aiormq.abc import AbstractConnection

from hookline.aio.pulse import Pulse
from hookline.broker.rabbitmq.connection import Connection, RabbitMQSettings
from hookline.broker.rabbitmq.queue_states import RabbitMQQueueStates
from hookline.broker.rabbitmq.topology.wanted import Difference, Wanting, compare, wanted


class Visit:
    """What can be asked while the connection is open."""

    def __init__(self, connection: AbstractConnection, settings: RabbitMQSettings) -> None:
        self._connection = connection
        self._settings = settings
        self.queue_states = RabbitMQQueueStates(lambda: connection, settings.connect_timeout_s)

    @property
    def places(self) -> str:
        """The nodes of the cluster."""
        return ", ".join(address.place for address in self._settings.addresses)

    async def differences(self, workers: Iterable[Wanting]) -> Sequence[Difference]:
        """How what exists differs from what these workers, and the ingress, need. Raises Unreachable."""
        declarations = wanted(workers, self._settings.retention)
        return await compare(self._connection, declarations, self._settings.connect_timeout_s)


@asynccontextmanager
async def visiting(settings: RabbitMQSettings) -> AsyncIterator[Visit]:
    """Raises Unreachable, or SettingsError for a malformed address."""
    connection = Connection(settings, "hookline operator", Pulse())
    await connection.open()
    try:
        yield Visit(connection.require(), settings)
    finally:
        await connection.close()
