"""The state of an open connection and its channels, past the calls that aiormq and aio-pika document."""

from typing import TypeAlias

import aio_pika
from aiormq.abc import AbstractChannel, AbstractConnection

OpenConnection: TypeAlias = aio_pika.Connection
_FRAME_OVERHEAD_BYTES = 8


def underlying(opened: OpenConnection | None) -> AbstractConnection | None:
    """The connection of aiormq below aio-pika's; None if there is none now."""
    transport = opened.transport if opened is not None else None
    return transport.connection if transport is not None else None


def is_blocked(connection: AbstractConnection) -> bool:
    """Whether the server has said that it takes nothing now (a memory or disk alarm).

    `ready()` waits while the connection is blocked and returns at once otherwise. Its first step tells which.
    """
    probe = connection.ready().__await__()
    try:
        next(probe)
    except StopIteration:
        return False
    finally:
        probe.close()
    return True


def max_content_bytes(channel: AbstractChannel) -> int:
    """How much of a body, or of a content header, fits into one frame."""
    return channel.connection.connection_tune.frame_max - _FRAME_OVERHEAD_BYTES
