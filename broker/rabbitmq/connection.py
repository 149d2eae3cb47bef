"""A connection to RabbitMQ that comes back by itself, and what a lost one does to those who use it."""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

from aiormq.abc import AbstractChannel, AbstractConnection
from aiormq.exceptions import AMQPError, ProbableAuthenticationError
from yarl import URL

from hookline.broker.rabbitmq.wire.connection_state import OpenConnection, underlying
from hookline.broker.rabbitmq.wire.frame_transport import FrameTransport, connect
from hookline.schemas.broker import NOTHING_KEPT, Retention
from hookline.schemas.errors import SettingsError, Unreachable

log = logging.getLogger("hookline.broker")

_FIRST_WAIT_S = 0.5
_MAX_WAIT_S = 30.0
_CLOSE_S = 5.0

Use: TypeAlias = Callable[[AbstractConnection], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class RabbitMQSettings:
    """Where RabbitMQ is, and how long and how much to wait for.

    A dead connection is noticed after about three heartbeats; a publish gives up long before.
    """

    url: str
    publish_timeout_s: float = 5.0
    max_in_flight: int = 1000
    heartbeat_s: int = 10
    connect_timeout_s: float = 5.0
    retention: Retention = NOTHING_KEPT

    def __post_init__(self) -> None:
        """Raises SettingsError for what is no address of a server; the text does not repeat it."""
        try:
            url = URL(self.url)
        except ValueError:
            url = URL()
        if url.scheme not in {"amqp", "amqps"} or not url.host:
            raise SettingsError("broker.url is not of the form amqp://user:password@host/vhost")

    @property
    def place(self) -> str:
        """The server as it may be shown: without user and password."""
        url = URL(self.url)
        return f"{url.host}:{url.port or ''}{url.path}"


@asynccontextmanager
async def bounded(timeout_s: float, what: str) -> AsyncIterator[None]:
    """Turn a time-out, and everything that a lost connection raises, into Unreachable.

    aiormq cancels what waits on a connection that went away, so a CancelledError here may be news of the connection; it
    is ours only if somebody asked this task to stop.
    """
    try:
        async with asyncio.timeout(timeout_s):
            yield
    except (AMQPError, RuntimeError, OSError, TimeoutError) as error:  # aio-pika: RuntimeError is "already closed"
        raise Unreachable(f"RabbitMQ: {what} failed ({type(error).__name__})") from error
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise Unreachable(f"RabbitMQ: {what} failed (the connection was lost)") from None


async def in_time(awaited: Awaitable[object], timeout_s: float, what: str) -> None:
    """Await something of our own. Raises Unreachable."""
    async with bounded(timeout_s, what):
        await awaited


@asynccontextmanager
async def open_channel(
    connection: AbstractConnection, timeout_s: float, *, confirms: bool = False
) -> AsyncIterator[AbstractChannel]:
    """A channel that is closed at the end, so that what was written on it has been read by the server."""
    async with bounded(timeout_s, "opening a channel"):
        channel = await connection.channel(publisher_confirms=confirms)
    try:
        yield channel
    finally:
        await finish(channel.close())


async def finish(closing: Awaitable[object]) -> None:
    """Await the end of something for a few seconds, whether it ends well or not.

    Not by `asyncio.timeout`: a cancelled call of aiormq may go on waiting for a socket that takes nothing.
    """
    task = asyncio.ensure_future(closing)
    await asyncio.wait([task], timeout=_CLOSE_S)
    if not task.done():
        task.cancel()
    elif not task.cancelled():
        task.exception()  # looked at: a connection that is lost while it closes is closed


def backoff_s(failures: int) -> float:
    """How long to wait before the next try: full jitter, so that a thousand clients do not return as one."""
    return random.uniform(0, min(_MAX_WAIT_S, _FIRST_WAIT_S * 2.0 ** min(failures, 10)))  # noqa: S311  # no secret


class Connection:
    """One connection. `open` makes the first; a lost one is made again, for as long as the link is not closed."""

    def __init__(self, settings: RabbitMQSettings, name: str) -> None:
        self._settings = settings
        self._name = name
        self._current: OpenConnection | None = None
        self._transport: FrameTransport | None = None
        self._connected = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def connection(self) -> AbstractConnection | None:
        """The connection as it is now; it may be found closed."""
        return underlying(self._current)

    def require(self) -> AbstractConnection:
        """The connection as it is now. Raises Unreachable if there is none."""
        connection = self.connection
        if connection is None:
            raise Unreachable("RabbitMQ is away")
        return connection

    def transport_of(self, connection: AbstractConnection) -> FrameTransport | None:
        """The connection's transport, if it has one and is still the current one."""
        return self._transport if connection is self.connection else None

    async def open(self) -> None:
        """Connect. Raises Unreachable."""
        await self._connect()
        self._task = asyncio.create_task(self._stay_connected())

    async def keep(self, use: Use) -> None:
        """Call `use` with the connection, and with the next one when it has returned or failed; never ends."""
        failures = 0
        while True:
            await self._connected.wait()
            connection = self.connection
            try:
                if connection is not None:
                    await use(connection)
                failures = 0
            except (Unreachable, SettingsError) as error:
                failures += 1
                log.warning("%s", error)
            await asyncio.sleep(backoff_s(failures))

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
            raise _told(error, settings) from error.__cause__
        self._connected.set()

    async def _stay_connected(self) -> None:
        failures = 0
        while True:
            connection = self.connection
            if connection is not None:
                await _closed(connection)
                failures = 0
                log.warning("the connection %s to RabbitMQ was lost", self._name)
                await self._disconnect()
            await asyncio.sleep(backoff_s(failures))
            try:
                await self._connect()
                log.info("the connection %s to RabbitMQ is back", self._name)
            except Unreachable as error:
                failures += 1
                log.warning("%s", error)

    async def _disconnect(self) -> None:
        self._connected.clear()
        current, self._current, self._transport = self._current, None, None
        if current is not None:
            await finish(current.close())


async def _closed(connection: AbstractConnection) -> None:
    closing: asyncio.Future[Any] = connection.closing
    await asyncio.wait([closing])


def _told(error: Unreachable, settings: RabbitMQSettings) -> Unreachable:
    """One sentence for the person who starts Hookline. aiormq's own text may quote the URL, so it is not repeated."""
    if isinstance(error.__cause__, ProbableAuthenticationError):
        return Unreachable(f"RabbitMQ at {settings.place} refused the user or password")
    kind = type(error.__cause__).__name__ if error.__cause__ else "lost"
    return Unreachable(f"RabbitMQ at {settings.place} cannot be reached ({kind})")
