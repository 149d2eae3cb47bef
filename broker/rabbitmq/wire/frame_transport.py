"""The socket to RabbitMQ, shared with aiormq. Frames of the hot path are read from it and written to it as bytes.

aiormq makes an object of each frame and a task of each delivery, which is most of the cost of an event. Here the
listener of a channel gets its frames as they arrive. All other frames go to aiormq, which opens channels, declares, and
keeps the connection alive.

This relies on parts of two libraries that may change: aiormq's `Connection` takes a `transport_factory` and calls its
`create`, and aio-pika's passes its `kwargs` on. If either has another shape, there is no frame transport: the public
calls are used, and one line in the log says so. A contract test runs both ways.
"""

import asyncio
import inspect
import logging
import ssl
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib.metadata import version
from struct import Struct
from typing import Any, Protocol

import aio_pika
import aiormq
from aiormq.exceptions import AMQPConnectionError, ChannelClosed, ConnectionClosed
from yarl import URL

log = logging.getLogger("hookline.broker")

METHOD, HEADER, BODY, _HEARTBEAT = 1, 2, 3, 8
_FRAME_TYPES = frozenset({METHOD, HEADER, BODY, _HEARTBEAT})
HEAD_BYTES = 7
END = 0xCE
_CHANNEL_CLOSE, _CHANNEL_CLOSE_OK = b"\0\x14\0\x28", b"\0\x14\0\x29"
_BLOCKED, _UNBLOCKED = b"\0\x0a\0\x3c", b"\0\x0a\0\x3d"
_CLOSE, _CLOSE_BYTES = b"\0\x0a\0\x32", 7  # also Channel.Close: with the code and the length of the text
_HEARTBEAT_FRAME = b"\x08\0\0\0\0\0\0\xce"
_HEARTBEAT_EVERY_S = 1.0
_QUEUED_FRAMES = 4096  # more than twice as many as a connection has channels
_PORTS = {"amqp": 5672, "amqps": 5671}
_OTHER_SHAPE = (TypeError, AttributeError, LookupError, ValueError, NotImplementedError)
"""What code raises that was written for another version of a library."""
_head = Struct(">BHI").unpack_from
_code_and_length = Struct(">HB").unpack_from


class Listener(Protocol):
    """Takes frames of one channel. The event loop calls it, so no method may block or raise."""

    def whole_messages(self, data: bytes, at: int) -> int:
        """Take the whole messages that follow one another from `at`, where a method begins; return where they end.

        `at` if there are none. Then `frame` gets the method.
        """

    def frame(self, kind: int, payload: bytes) -> bool:
        """Whether the frame is taken. If not, aiormq gets it."""

    def writable(self) -> None:
        """The socket accepts bytes again."""

    def closed(self, error: ChannelClosed | None) -> None:
        """The channel is closed; `error` is why, if the server closed it.

        RabbitMQ would close the connection for a frame that is written to it now.
        """


class FrameTransport(asyncio.Protocol):
    """One connection's socket. `streams` gets what no listener takes, in order and in whole frames."""

    def __init__(self, streams: asyncio.Protocol, clock: Callable[[], float]) -> None:
        self.is_blocked = False  # the server has announced that it accepts nothing (a memory or disk alarm)
        self.is_paused = False  # the socket's buffer is full
        self.is_greeted = False  # the server has sent a method
        self.refusal: ConnectionClosed | None = None  # why the server closed the connection
        self._streams = streams
        self._clock = clock
        self._listeners: dict[int, Listener] = {}
        self._transport: Any = None
        self._has_tls = False
        self._rest = b""
        self._is_understood = True
        self._next_heartbeat_s = 0.0

    def listen(self, channel: int, listener: Listener) -> None:
        """Give the listener each frame of the channel, until the channel is closed."""
        self._listeners[channel] = listener

    def write(self, frames: Sequence[bytes | memoryview]) -> None:
        """Send whole frames, before or after those of others. Does nothing if the connection is lost."""
        if self._transport.is_closing():
            return
        if self._has_tls:  # which would make a record of each
            self._transport.write(b"".join(frames))
        else:
            self._transport.writelines(frames)

    def abort(self) -> None:
        """Close the socket at once, without waiting for the server."""
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._has_tls = transport.get_extra_info("ssl_object") is not None
        self._streams.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        left = self._take(self._rest + data) if self._is_understood else data
        if left:
            self._streams.data_received(left)

    def eof_received(self) -> bool | None:
        return self._streams.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        for channel in list(self._listeners):
            self._listeners.pop(channel).closed(None)
        self._streams.connection_lost(exc)

    def pause_writing(self) -> None:
        self.is_paused = True
        self._streams.pause_writing()

    def resume_writing(self) -> None:
        self.is_paused = False
        self._streams.resume_writing()
        for listener in list(self._listeners.values()):
            listener.writable()

    def _take(self, data: bytes) -> bytes:
        """Pass frames to their listeners, and return the others. An incomplete frame is kept until the rest arrives."""
        left = b""
        at = since = 0  # where this frame begins, and where the frames before it begin that no listener took
        end, listeners = len(data), self._listeners
        while end - at >= HEAD_BYTES:
            kind, channel, size = _head(data, at)
            listener = listeners.get(channel)
            after = listener.whole_messages(data, at) if listener is not None and kind == METHOD else at
            is_taken = after > at
            if not is_taken:
                start = at + HEAD_BYTES
                stop = start + size
                if kind not in _FRAME_TYPES or (stop < end and data[stop] != END):
                    self._is_understood = False  # not AMQP: aiormq raises for it
                    at = end
                    break
                if stop >= end:
                    break
                payload, after = data[start:stop], stop + 1
                is_taken = listener is not None and listener.frame(kind, payload)
                if not is_taken and kind == METHOD:
                    self._note(channel, payload)
            if is_taken:
                if since < at:
                    left += data[since:at]
                since = after
            at = after
        self._rest = data[at:] if at < end else b""
        if since < at:
            left += data[since:at]
        if since and self._clock() >= self._next_heartbeat_s:
            left += self._heartbeat()
        return left

    def _note(self, channel: int, payload: bytes) -> None:
        """Note that a channel is closed, an alarm, or why the server closes the connection.

        While a connection opens, aiormq does not say why.
        """
        if channel:
            if channel in self._listeners and payload.startswith((_CHANNEL_CLOSE, _CHANNEL_CLOSE_OK)):
                self._listeners.pop(channel).closed(_channel_closed(payload))
            return
        self.is_greeted = True
        if payload.startswith((_BLOCKED, _UNBLOCKED)):
            self.is_blocked = payload.startswith(_BLOCKED)
        elif payload.startswith(_CLOSE) and len(payload) >= _CLOSE_BYTES:
            self.refusal = ConnectionClosed(*_code_and_text(payload))

    def _heartbeat(self) -> bytes:
        """A heartbeat for aiormq, due again in a second.

        aiormq does not see the frames that listeners take, and closes a silent connection. The server sends no
        heartbeats while it sends other frames.
        """
        self._next_heartbeat_s = self._clock() + _HEARTBEAT_EVERY_S
        return _HEARTBEAT_FRAME


def _channel_closed(payload: bytes) -> ChannelClosed | None:
    """Why the server closes a channel; None if it only agrees that it is closed."""
    says_why = payload.startswith(_CHANNEL_CLOSE) and len(payload) >= _CLOSE_BYTES
    return ChannelClosed(*_code_and_text(payload)) if says_why else None


def _code_and_text(close: bytes) -> tuple[int, str]:
    """What the server says in a Connection.Close or a Channel.Close."""
    code, length = _code_and_length(close, len(_CLOSE))
    return code, close[_CLOSE_BYTES:][:length].decode(errors="replace")


class _Opener:
    """A transport factory of aiormq."""

    frames: FrameTransport | None = None
    _writer: asyncio.StreamWriter | None = None

    async def create(self, url: URL, **options: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """The streams that aiormq reads and writes. `options` are those of `create_connection`, and the TLS context.

        Raises AMQPConnectionError, or what an unknown form of call or option raises.
        """
        context = options.pop("ssl_context_provider", None)
        tls = await context.get_context() if url.scheme == "amqps" else None
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(loop=loop)
        streams = asyncio.StreamReaderProtocol(reader, loop=loop)
        frames = FrameTransport(streams, loop.time)
        if tls is not None:
            options.setdefault("server_hostname", str(url.host))
        port = url.port or _PORTS[url.scheme]
        try:
            transport, _ = await loop.create_connection(lambda: frames, str(url.host), port, ssl=tls, **options)
        except OSError as error:
            raise AMQPConnectionError(*error.args) from error
        self.frames = frames
        self._writer = asyncio.StreamWriter(transport, streams, reader, loop)
        return reader, self._writer

    def abort(self) -> None:
        """Close the socket of a connection that did not come about."""
        if self._writer is not None:
            self._writer.transport.abort()


async def connect(
    url: URL, client_properties: Mapping[str, Any], tls: ssl.SSLContext | None = None
) -> tuple[aio_pika.Connection, FrameTransport | None]:
    """A connection with its transport; without one if the installed aiormq or aio-pika has another shape.

    The caller bounds the time. The socket is closed as soon as this call is cancelled.
    aiormq's queue of frames to write holds ten, and it drops the Channel.CloseOk that finds no room. Then the server
    waits for it, and ignores the number's next channel for as long as the connection is open.
    """
    aiormq.Connection.FRAME_BUFFER_SIZE = _QUEUED_FRAMES
    connection, opener = _connection(url, client_properties, tls), _Opener()
    if not is_supported(connection):
        _log_fallback("no transport_factory")
        await _open(connection, opener)
        return connection, None
    connection.kwargs["transport_factory"] = opener
    try:
        await _open(connection, opener)
    except _OTHER_SHAPE as error:
        if opener.frames is not None and opener.frames.is_greeted:  # it is the server that has another shape
            raise
        opener.abort()
        _log_fallback(type(error).__name__)
        connection = _connection(url, client_properties, tls)
        await _open(connection, opener)
        return connection, None
    except Exception as error:
        if opener.frames is not None and opener.frames.refusal is not None:
            raise opener.frames.refusal from error
        raise
    if opener.frames is None:
        _log_fallback("the transport_factory is not called")
    return connection, opener.frames


async def _open(connection: aio_pika.Connection, opener: _Opener) -> None:
    """Connect. One that fails is marked as closed: aio-pika would close it when it is collected, in whatever thread.

    A cancelled call of aiormq waits until its socket is closed, over TLS half a minute. So the socket is closed first.
    """
    connecting = asyncio.ensure_future(connection.connect())
    try:
        await asyncio.wait([connecting])
        await connecting
    except BaseException:
        if not connecting.done():
            opener.abort()
            connecting.cancel()
            await asyncio.wait([connecting])
        if connection.transport is None:
            await connection.close()
        raise


def _connection(url: URL, client_properties: Mapping[str, Any], tls: ssl.SSLContext | None) -> aio_pika.Connection:
    return aio_pika.Connection(url, ssl_context=tls, client_properties=dict(client_properties))


def is_supported(connection: Any) -> bool:
    """Whether aio-pika passes a transport of ours to aiormq."""
    try:
        parameters = inspect.signature(aiormq.Connection.__init__).parameters
    except _OTHER_SHAPE:
        return False
    return "transport_factory" in parameters and isinstance(getattr(connection, "kwargs", None), dict)


@cache  # one line for each reason, however often a process connects
def _log_fallback(reason: str) -> None:
    """The reason is no error's text, which might contain the URL."""
    log.warning(
        "the raw transport does not fit aiormq %s and aio-pika %s (%s): public calls are used, which need more CPU",
        version("aiormq"),
        version("aio-pika"),
        reason,
    )
