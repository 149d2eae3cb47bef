"""A connection that looks at RabbitMQ and leaves: it declares nothing by itself, and does not reconnect."""

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, suppress

from aiormq.abc import AbstractConnection

from hookline.aio.pulse import Pulse
from hookline.broker.rabbitmq.connection import Connection, RabbitMQSettings
from hookline.broker.rabbitmq.management import management_of
from hookline.broker.rabbitmq.queue_states import RabbitMQQueueStates
from hookline.broker.rabbitmq.topology.declaring import declare_all
from hookline.broker.rabbitmq.topology.register import register
from hookline.broker.rabbitmq.topology.wanted import Difference, Wanting, compare, wanted
from hookline.schemas.errors import Unreachable


class Visit:
    """What can be asked while the connection is open."""

    def __init__(self, connection: AbstractConnection, settings: RabbitMQSettings) -> None:
        self._connection = connection
        self._settings = settings
        self.management = management_of(settings)
        self.queue_states = RabbitMQQueueStates(lambda: connection, settings.connect_timeout_s, self.management)

    @property
    def places(self) -> str:
        """The nodes of the cluster."""
        return ", ".join(address.place for address in self._settings.addresses)

    async def differences(self, workers: Iterable[Wanting]) -> Sequence[Difference]:
        """How what exists differs from what these workers, and the ingress, need. Raises Unreachable."""
        declarations = wanted(workers, self._settings.retention)
        return await compare(self._connection, declarations, self._settings.connect_timeout_s, await self._bound())

    async def _bound(self) -> frozenset[tuple[str, str]] | None:
        """The queues with their binding keys, if the management API shows them."""
        if self.management is not None:
            with suppress(Unreachable):
                return await self.management.bindings()
        return None

    async def apply(self, workers: Sequence[Wanting]) -> int:
        """Declare what these workers, and the ingress, need; how many things that are.

        Raises Unreachable, Refused if this user may not, or SettingsError if something exists in another form.
        """
        timeout_s = self._settings.connect_timeout_s
        for worker in workers:
            await register(self._connection, worker.queue, timeout_s)
        declarations = wanted(workers, self._settings.retention)
        for each in declarations:
            await declare_all(self._connection, [each], timeout_s, each.name)
        return len(declarations)


@asynccontextmanager
async def visiting(settings: RabbitMQSettings) -> AsyncIterator[Visit]:
    """Raises Unreachable, or SettingsError for a malformed address."""
    connection = Connection(settings, "hookline operator", Pulse())
    await connection.open()
    try:
        yield Visit(connection.require(), settings)
    finally:
        await connection.close()
