"""A connection to RabbitMQ that reconnects by itself, and the errors that a lost one causes."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

from aiormq.abc import AbstractChannel, AbstractConnection
from aiormq.exceptions import AMQPError, ProbableAuthenticationError
from yarl import URL

from hookline.aio.pulse import Pulse
from hookline.aio.retry_delays import RetryDelays
from hookline.broker.rabbitmq.wire.connection_state import OpenConnection, close_reason, server_reason, underlying
from hookline.broker.rabbitmq.wire.frame_transport import FrameTransport, connect
from hookline.schemas.broker import NOTHING_KEPT, Retention
from hookline.schemas.errors import SettingsError, Unreachable

log = logging.getLogger("hookline.broker")

RECONNECT = RetryDelays(first_s=1.0, max_s=5.0)
"""Between tries to connect. Everything consumes and publishes again within 15 s after the server is back."""

_USE_AGAIN = RetryDelays(first_s=0.5, max_s=5.0)
_CLOSE_S = 5.0

Use: TypeAlias = Callable[[AbstractConnection], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class RabbitMQSettings:
    """The address of RabbitMQ, time-outs and limits.

    A dead connection is noticed after about three heartbeats. A publish times out earlier.
    """

    url: str
    publish_timeout_s: float = 5.0
    max_in_flight: int = 1000
    heartbeat_s: int = 10
    connect_timeout_s: float = 5.0
    retention: Retention = NOTHING_KEPT

    def __post_init__(self) -> None:
        """Raises SettingsError for a malformed address. The error does not repeat it: it may hold a password."""
        try:
            url = URL(self.url)
        except ValueError:
            url = URL()
        if url.scheme not in {"amqp", "amqps"} or not url.host:
            raise SettingsError("broker.url is not of the form amqp://user:password@host/vhost")

    @property
    def place(self) -> str:
        """The address without user and password, for logs and errors."""
        url = URL(self.url)
        return f"{url.host}:{url.port or ''}{url.path}"


@asynccontextmanager
async def bounded(timeout_s: float, what: str) -> AsyncIterator[None]:
    """Raise Unreachable for a time-out, and for every error of a lost connection.

    aiormq cancels calls on a lost connection, so a CancelledError may mean just that. It is passed on only if this task
    itself was cancelled.
    """
    try:
        async with asyncio.timeout(timeout_s):
            yield
    except (AMQPError, RuntimeError, OSError, TimeoutError) as error:  # aio-pika: RuntimeError is "already closed"
        raise Unreachable(f"RabbitMQ: {what} failed ({server_reason(error) or type(error).__name__})") from error
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise Unreachable(f"RabbitMQ: {what} failed (the connection was lost)") from None


async def in_time(awaited: Awaitable[object], timeout_s: float, what: str) -> None:
    """Await an event within the time-out. Raises Unreachable."""
    async with bounded(timeout_s, what):
        await awaited


@asynccontextmanager
async def open_channel(
    connection: AbstractConnection, timeout_s: float, *, confirms: bool = False
) -> AsyncIterator[AbstractChannel]:
    """A channel that is closed at the end. The server has then read everything that was written on it."""
    async with bounded(timeout_s, "opening a channel"):
        channel = await connection.channel(publisher_confirms=confirms)
    try:
        yield channel
    finally:
        await finish(channel.close())


async def finish(closing: Awaitable[object]) -> None:
    """Wait a few seconds for something to close, and ignore its errors.

    `asyncio.timeout` is no use here: a cancelled call of aiormq may wait on for a socket that accepts nothing.
    """
    task = asyncio.ensure_future(closing)
    await asyncio.wait([task], timeout=_CLOSE_S)
    if not task.done():
        task.cancel()
    elif not task.cancelled():
        task.exception()  # retrieved, so that asyncio does not log it: a connection lost while closing is closed


class Connection:
    """One connection to the server. `open` connects; after a loss it reconnects until it is closed.

    Connections of one process share `server_is_back`: the first that reconnects wakes the others.
    """

    def __init__(self, settings: RabbitMQSettings, name: str, server_is_back: Pulse) -> None:
        self._settings = settings
        self._name = name
        self._server_is_back = server_is_back
        self._current: OpenConnection | None = None
        self._transport: FrameTransport | None = None
        self._connected = asyncio.Event()
        self._away = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def connection(self) -> AbstractConnection | None:
        """The current connection, which may be closed already; None while there is none."""
        return underlying(self._current)

    def require(self) -> AbstractConnection:
        """The current connection. Raises Unreachable if there is none."""
        connection = self.connection
        if connection is None:
            raise Unreachable("RabbitMQ is away")
        return connection

    def transport_of(self, connection: AbstractConnection) -> FrameTransport | None:
        """The frame transport of a connection, if it has one and the connection is still the current one."""
        return self._transport if connection is self.connection else None

    async def open(self) -> None:
        """Connect. Raises Unreachable."""
        await self._connect()
        self._task = asyncio.create_task(self._stay_connected())

    def open_soon(self) -> None:
        """Connect in the background, as after a loss."""
        self._task = asyncio.create_task(self._stay_connected())

    async def keep(self, use: Use) -> None:
        """Call `use` with the current connection, again and again when it returns or fails. Never returns.

        A new connection is used at once. Delays count the failures on one connection only.
        """
        while True:
            await self._connected.wait()
            connection = self.connection
            if connection is not None:
                await _keep_using(connection, use)
            if self.connection is connection:
                await self._away.wait()

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        await self._disconnect()

    async def _connect(self) -> None:
        settings = self._settings
        try:
            async with bounded(settings.connect_timeout_s, "connecting"):
                self._current, self._transport = await connect(
                    URL(settings.url).update_query(heartbeat=settings.heartbeat_s), {"connection_name": self._name}
                )
        except Unreachable as error:
            raise _explained(error, settings) from error.__cause__
        self._away.clear()
        self._connected.set()

    async def _stay_connected(self) -> None:
        while True:
            if (connection := self.connection) is not None:
                reason = await _closed(connection)
                log.warning("the connection %s to RabbitMQ was lost: %s", self._name, reason)
            await self._disconnect()
            await self._reconnect()
            log.info("the connection %s to RabbitMQ is back", self._name)
            self._server_is_back.send()

    async def _reconnect(self) -> None:
        failures, said = 0, ""
        while True:
            if await self._server_is_back.wait(RECONNECT.delay_s(failures + 1)):
                failures = 0
            try:
                await self._connect()
            except Unreachable as error:
                failures += 1
                said = _say(str(error), said)
            else:
                return

    async def _disconnect(self) -> None:
        self._connected.clear()
        current, self._current, self._transport = self._current, None, None
        self._away.set()
        if current is not None:
            await finish(current.close())


async def _keep_using(connection: AbstractConnection, use: Use) -> None:
    """Call `use` until the connection is closed. What fails again and again for one reason is logged once."""
    closing: asyncio.Future[Any] = connection.closing
    failures, said = 0, ""
    while not closing.done():
        try:
            await use(connection)
            failures, said = 0, ""
        except (Unreachable, SettingsError) as error:
            failures += 1
            if not closing.done():
                said = _say(str(error), said)
        await asyncio.wait([closing], timeout=_USE_AGAIN.delay_s(failures + 1))


def _say(text: str, said: str) -> str:
    """Log a failure, unless it is the one that was logged last; what was logged last."""
    if text != said:
        log.warning("%s", text)
    return text


async def _closed(connection: AbstractConnection) -> str:
    """Wait until the connection is closed; why it was."""
    closing: asyncio.Future[Any] = connection.closing
    await asyncio.wait([closing])
    return await close_reason(closing)


def _explained(error: Unreachable, settings: RabbitMQSettings) -> Unreachable:
    """One sentence for the operator. It does not repeat aiormq's text, which may quote the URL."""
    if isinstance(error.__cause__, ProbableAuthenticationError):
        return Unreachable(f"RabbitMQ at {settings.place} refused the user or password")
    kind = type(error.__cause__).__name__ if error.__cause__ else "lost"
    return Unreachable(f"RabbitMQ at {settings.place} cannot be reached ({kind})")
