"""A lock that processes share: an exclusive queue, which ends with the connection that declared it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from aiormq.abc import AbstractConnection
from aiormq.exceptions import ChannelAccessRefused, ChannelLockedResource

from hookline.broker.rabbitmq.connection import bounded, open_channel
from hookline.broker.rabbitmq.names import lock_name
from hookline.broker.rabbitmq.topology.declaring import Refused
from hookline.broker.rabbitmq.wire.connection_state import server_reason
from hookline.schemas.errors import Unreachable

_TRIES = 50
_WAIT_S = 0.1


@asynccontextmanager
async def locked(connection: AbstractConnection, resource: str, timeout_s: float) -> AsyncIterator[None]:
    """Keep other processes out of a resource. Raises Unreachable if one holds it for more than a few seconds.

    Raises Refused if this user may not lock.
    """
    name = lock_name(resource)
    for _ in range(_TRIES):
        if await _acquired(connection, name, timeout_s):
            break
        await asyncio.sleep(_WAIT_S)
    else:
        raise Unreachable(f"RabbitMQ: {name} is held by another process")
    try:
        yield
    finally:
        with suppress(Unreachable):
            async with bounded(timeout_s, "unlocking"), open_channel(connection, timeout_s) as channel:
                await channel.queue_delete(name)


async def _acquired(connection: AbstractConnection, name: str, timeout_s: float) -> bool:
    async with bounded(timeout_s, "locking"), open_channel(connection, timeout_s) as channel:
        try:
            await channel.queue_declare(name, exclusive=True)
        except ChannelLockedResource:
            return False
        except ChannelAccessRefused as error:
            reason = server_reason(error)
            text = f"RabbitMQ does not let this user lock {name}: {reason}; use the operator's user, or a worker's"
            raise Refused(text) from error
    return True
