"""The state of an open connection and its channels, past the calls that aiormq and aio-pika document."""

import asyncio
import math
import re
from collections.abc import Mapping
from typing import Any, TypeAlias

import aio_pika
from aiormq import exceptions
from aiormq.abc import AbstractChannel, AbstractConnection

OpenConnection: TypeAlias = aio_pika.Connection
_FRAME_OVERHEAD_BYTES = 8
_UNLIMITED_FRAME_BYTES = 131_072  # RabbitMQ's default, where the server sets no limit
_CLOSING_S = 1.0
_CODES: Mapping[type[exceptions.AMQPError], int] = {
    exceptions.ChannelAccessRefused: 403,
    exceptions.ChannelNotFoundEntity: 404,
    exceptions.ChannelLockedResource: 405,
    exceptions.ChannelPreconditionFailed: 406,
    exceptions.ConnectionFrameError: 501,
    exceptions.ConnectionSyntaxError: 502,
    exceptions.ConnectionCommandInvalid: 503,
    exceptions.ConnectionChannelError: 504,
    exceptions.ConnectionUnexpectedFrame: 505,
    exceptions.ConnectionResourceError: 506,
    exceptions.ConnectionNotAllowed: 530,
    exceptions.ConnectionNotImplemented: 540,
    exceptions.ConnectionInternalError: 541,
}
"""aiormq keeps the code only of those that have no class of their own."""

_NOT_TAKEN = ("403 ", "406 ")
_TOO_LARGE = re.compile(r"message size \d+ is larger than (?:configured )?max size (\d+)")


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
    return (channel.connection.connection_tune.frame_max or _UNLIMITED_FRAME_BYTES) - _FRAME_OVERHEAD_BYTES


def offers_confirms(connection: AbstractConnection) -> bool:
    """Whether the server has publisher confirms. aiormq raises KeyError for one that names no capabilities."""
    capabilities = connection.server_properties.get("capabilities")
    return isinstance(capabilities, Mapping) and bool(capabilities.get("publisher_confirms"))


def server_reason(error: BaseException | None) -> str:
    """The code and text with which the server closed a channel or connection; empty if it did not.

    Only these errors are quoted: the text of others may contain the URL, and its password.
    """
    match error:
        case exceptions.ChannelClosed(args=(text,)) | exceptions.ConnectionClosed(args=(text,)):
            return f"{_CODES.get(type(error), '')} {text}".strip()
        case exceptions.ChannelClosed(args=(int(code), text)) | exceptions.ConnectionClosed(args=(int(code), text)):
            return f"{code} {text}" if code else ""
        case _:
            return ""


def refuses_a_message(error: BaseException | None) -> bool:
    """Whether the server closed a channel because of a message: its user may not send it, or it is too large."""
    return server_reason(error).startswith(_NOT_TAKEN)


def max_message_bytes(reason: str) -> float:
    """The size of the largest body that the server takes, if it closed a channel because of a larger one.

    Infinite for any other reason. RabbitMQ says its `max_message_size` nowhere else.
    """
    found = _TOO_LARGE.search(reason)
    return int(found[1]) if found else math.inf


def close_error(closing: "asyncio.Future[Any]") -> BaseException | None:
    """With what a channel or connection was closed; None if it is open, or was closed without an error."""
    return closing.exception() if closing.done() and not closing.cancelled() else None


async def close_reason(closing: "asyncio.Future[Any]") -> str:
    """Why a channel or connection was closed. aiormq learns it a moment after the frame transport."""
    await asyncio.wait([closing], timeout=_CLOSING_S)
    error = close_error(closing)
    return "no reason given" if error is None else server_reason(error) or type(error).__name__
