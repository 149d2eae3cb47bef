"""A connection to RabbitMQ that reconnects by itself, and the errors that a lost one causes."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from aiormq.abc import AbstractChannel, AbstractConnection

from hookline.aio.cancellation import cancellation_kept, is_cancelled
from hookline.aio.causes import kind_and_place
from hookline.aio.notices import Notice
from hookline.aio.pulse import Pulse
from hookline.aio.retry_delays import RetryDelays
from hookline.broker.rabbitmq.addresses import Address, Addresses
from hookline.broker.rabbitmq.explaining import why_not_connected
from hookline.broker.rabbitmq.wire.connection_state import (
    OpenConnection,
    close_reason,
    offers_confirms,
    server_reason,
    underlying,
)
from hookline.broker.rabbitmq.wire.frame_transport import FrameTransport, connect
from hookline.schemas.broker import NOTHING_KEPT, Retention
from hookline.schemas.errors import HooklineError, SettingsError, Unreachable
from hookline.schemas.observer import NOBODY, Observer

log = logging.getLogger("hookline.broker")

RECONNECT = RetryDelays(first_s=1.0, max_s=5.0)
"""Between tries to connect. Everything consumes and publishes again within 15 s after the server is back."""

_USE_AGAIN = RetryDelays(first_s=0.5, max_s=5.0)
_AWAY = "RabbitMQ is away"
_CLOSE_S = 5.0

Use: TypeAlias = Callable[[AbstractConnection], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class RabbitMQSettings:
    """The addresses of RabbitMQ and of its management API, time-outs and limits.

    At most `max_in_flight` messages are written and not confirmed. `max_waiting` more wait for room.
    A dead connection is noticed after about three heartbeats. A publish times out earlier. `observer` is told of what
    happens to the connections and the topology.
    """

    url: str | tuple[str, ...]
    publish_timeout_s: float = 5.0
    max_in_flight: int = 1000
    max_waiting: int = 0
    heartbeat_s: int = 10
    connect_timeout_s: float = 5.0
    retention: Retention = NOTHING_KEPT
    folder: Path | None = None
    observer: Observer = NOBODY
    management_url: str = ""

    def __post_init__(self) -> None:
        """Raises SettingsError for a malformed address, without repeating it."""
        _ = self.addresses

    @property
    def addresses(self) -> tuple[Address, ...]:
        """The nodes of the cluster. Relative paths in a URL begin at `folder`."""
        urls = (self.url,) if isinstance(self.url, str) else self.url
        return tuple(Address.read(url, self.folder) for url in urls)


@asynccontextmanager
async def bounded(timeout_s: float, what: str) -> AsyncIterator[None]:
    """Raise Unreachable for a time-out, and for every error of a call to the server.

    The libraries raise anything: RuntimeError for a closed connection, StopAsyncIteration, KeyError for a server that
    names no capabilities. aiormq cancels calls on a lost connection, so a CancelledError may mean just that. It is
    passed on only if this task itself was cancelled.
    """
    try:
        async with asyncio.timeout(timeout_s):
            with cancellation_kept():
                yield
    except HooklineError:
        raise
    except Exception as error:
        raise Unreachable(f"RabbitMQ: {what} failed ({server_reason(error) or type(error).__name__})") from error
    except asyncio.CancelledError:
        if is_cancelled():
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

    Connections of one process share `server_is_back`: the first that reconnects wakes the others. It then calls `back`.
    """

    def __init__(
        self, settings: RabbitMQSettings, name: str, server_is_back: Pulse, back: Callable[[], None] = lambda: None
    ) -> None:
        self._settings = settings
        self._addresses = Addresses(settings.addresses)
        self._name = name
        self._server_is_back = server_is_back
        self._back = back
        self._current: OpenConnection | None = None
        self._transport: FrameTransport | None = None
        self._left: asyncio.Future[str] | None = None
        self._connected = asyncio.Event()
        self._away = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._fault = _AWAY

    @property
    def connection(self) -> AbstractConnection | None:
        """The current connection, which may be closed already; None while there is none."""
        return underlying(self._current)

    @property
    def fault(self) -> str:
        """Why there is no connection now: what the last attempt said. Empty while there is one."""
        return self._fault if self.connection is None else ""

    def require(self) -> AbstractConnection:
        """The current connection. Raises Unreachable if there is none."""
        connection = self.connection
        if connection is None:
            raise Unreachable(_AWAY)
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

    def leave(self, connection: AbstractConnection, reason: str) -> None:
        """Connect to the next address: this one is open, and of no use."""
        if connection is self.connection and self._left is not None and not self._left.done():
            self._left.set_result(reason)

    def use_addresses(self, settings: RabbitMQSettings) -> None:
        """Connect with these from now on. An open connection stays."""
        self._addresses.replace(settings.addresses)

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        await self._disconnect()

    def hang_up(self) -> None:
        """Close the socket at once, without waiting for the server, and connect no more. Ends what waits for it."""
        if self._task is not None:
            self._task.cancel()
        if self._transport is not None:
            self._transport.abort()

    async def _connect(self) -> None:
        """Connect to the first address that answers. Raises Unreachable, which says what is wrong with each of them."""
        failures = []
        for address in self._addresses.round():
            try:
                await self._connect_to(address)
            except Unreachable as error:
                failures.append(error)
            else:
                return
        raise Unreachable("; ".join(sorted(map(str, failures)))) from failures[0].__cause__

    async def _connect_to(self, address: Address) -> None:
        settings = self._settings
        url = address.url.update_query(heartbeat=settings.heartbeat_s)
        try:
            async with bounded(settings.connect_timeout_s, "connecting"):
                context = await asyncio.to_thread(address.tls_context) if address.has_tls else None
                opened, transport = await connect(url, {"connection_name": self._name}, context)
        except SettingsError as error:  # a file has changed since the start
            raise Unreachable(f"RabbitMQ at {address.place}: {error}") from error
        except Unreachable as error:
            why = why_not_connected(error.__cause__, over_tls=address.has_tls)
            raise Unreachable(f"RabbitMQ at {address.place}: {why}") from error.__cause__
        connection = underlying(opened)
        if connection is None or not offers_confirms(connection):
            await finish(opened.close())
            raise Unreachable(f"RabbitMQ at {address.place}: the server has no publisher confirms")
        self._current, self._transport, self._fault = opened, transport, _AWAY
        self._left = asyncio.get_running_loop().create_future()
        self._away.clear()
        self._connected.set()

    async def _stay_connected(self) -> None:
        """Wait for a loss and reconnect, whatever fails meanwhile."""
        notice = Notice()
        while True:
            failure = await _failure(self._lose_and_reconnect(notice))
            if failure is not None:
                _log_unexpected(f"the connection {self._name} to RabbitMQ", failure)
                await asyncio.sleep(RECONNECT.delay_s(1))

    async def _lose_and_reconnect(self, notice: Notice) -> None:
        if (connection := self.connection) is not None:
            reason = await self._lost(connection)
            log.warning("the connection %s to RabbitMQ was lost: %s", self._name, reason)
            self._addresses.pass_over()
        await self._disconnect()
        await self._reconnect(notice)
        notice.forget()
        log.info("the connection %s to RabbitMQ is back", self._name)
        self._server_is_back.send()
        self._settings.observer.reconnected(self._name)
        self._back()

    async def _lost(self, connection: AbstractConnection) -> str:
        """Wait until the connection is closed, or left; why it was."""
        closing: asyncio.Future[Any] = connection.closing
        left = self._left
        await asyncio.wait([closing] if left is None else [closing, left], return_when=asyncio.FIRST_COMPLETED)
        if left is None or not left.done():
            return await close_reason(closing)
        if self._transport is not None:
            self._transport.abort()  # closing in order would wait for a server that answers nothing
        return left.result()

    async def _reconnect(self, notice: Notice) -> None:
        failures = 0
        while True:
            if await self._server_is_back.wait(RECONNECT.delay_s(failures + 1)):
                failures = 0
            try:
                await self._connect()
            except Unreachable as error:
                failures += 1
                self._fault = str(error)
                if notice.is_due(str(error)):
                    log.warning("%s; trying again", error)
            else:
                return

    async def _disconnect(self) -> None:
        self._connected.clear()
        current, self._current, self._transport = self._current, None, None
        self._away.set()
        if current is not None:
            await finish(current.close())


async def _keep_using(connection: AbstractConnection, use: Use) -> None:
    """Call `use` until the connection is closed. What fails again and again for one reason is logged once a minute."""
    closing: asyncio.Future[Any] = connection.closing
    failures, notice = 0, Notice()
    while not closing.done():
        failure = await _failure(use(connection))
        if failure is None:
            failures = 0
            notice.forget()
        else:
            failures += 1
            if not isinstance(failure, HooklineError):
                _log_unexpected("using the connection to RabbitMQ", failure)
            elif not closing.done() and notice.is_due(str(failure)):
                log.warning("%s", failure)
        await asyncio.wait([closing], timeout=_USE_AGAIN.delay_s(failures + 1))


async def _failure(step: Awaitable[None]) -> BaseException | None:
    """What a step raised. A loop goes on after any error; one that ended without a word would never come back.

    aiormq cancels calls on a lost connection: CancelledError is raised only if this task itself was cancelled.
    """
    try:
        await step
    except asyncio.CancelledError as error:
        if is_cancelled():
            raise
        return error
    except Exception as error:  # noqa: BLE001  the caller logs it, and tries again
        return error
    return None


def _log_unexpected(what: str, error: BaseException) -> None:
    log.error("%s failed: %s; trying again", what, kind_and_place(error))
