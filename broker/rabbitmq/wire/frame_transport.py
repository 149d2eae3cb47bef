"""The socket to RabbitMQ, shared with aiormq. Frames of the hot path are read and written here, as bytes.

aiormq makes an object of each frame and a task of each delivery, which is most of the cost of an event. Here the
listener of a channel gets its frames as they arrive. All others go on to aiormq, which opens channels, declares, and
keeps the connection alive. This relies on aiormq's `Connection`, which takes a `transport_factory`, and on aio-pika's,
which hands its `kwargs` to it. Without either there is no frame transport, and public calls do the work. A contract
test runs both ways.
"""

import asyncio
import inspect
from collections.abc import Callable, Mapping, Sequence
from struct import Struct
from typing import Any, Protocol

import aio_pika
import aiormq
from aiormq.exceptions import AMQPConnectionError
from yarl import URL

METHOD, HEADER, BODY, _HEARTBEAT = 1, 2, 3, 8
_FRAME_TYPES = frozenset({METHOD, HEADER, BODY, _HEARTBEAT})
_HEAD_BYTES = 7
_END = 0xCE
_CHANNEL_OVER = frozenset({b"\0\x14\0\x28", b"\0\x14\0\x29"})  # Channel.Close, Channel.CloseOk
_BLOCKED, _UNBLOCKED = b"\0\x0a\0\x3c", b"\0\x0a\0\x3d"
_HEARTBEAT_FRAME = b"\x08\0\0\0\0\0\0\xce"
_HEARTBEAT_EVERY_S = 1.0
_head = Struct(">BHI").unpack_from


class Listener(Protocol):
    """Takes frames of one channel. The event loop calls it: no method may block or raise."""

    def frame(self, kind: int, payload: bytes) -> bool:
        """Return whether the frame is taken. aiormq gets the others."""

    def writable(self) -> None:
        """The socket accepts bytes again."""

    def closed(self) -> None:
        """The channel is closed. The server closes the connection if another frame is written to the channel."""


class FrameTransport(asyncio.Protocol):
    """One connection's socket. `streams` gets all frames that no listener takes, whole and in order."""

    def __init__(self, streams: asyncio.Protocol, clock: Callable[[], float]) -> None:
        self.is_blocked = False  # by the server: a memory or disk alarm
        self.is_paused = False  # the socket's buffer is full
        self._streams = streams
        self._clock = clock
        self._listeners: dict[int, Listener] = {}
        self._transport: Any = None
        self._rest = b""
        self._is_understood = True
        self._next_heartbeat_s = 0.0

    def listen(self, channel: int, listener: Listener) -> None:
        """Give the listener each frame of the channel, until that is closed."""
        self._listeners[channel] = listener

    def write(self, frames: Sequence[bytes | memoryview]) -> None:
        """Send whole frames. Does nothing if the connection is closed."""
        if not self._transport.is_closing():
            self._transport.writelines(frames)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._streams.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        left = self._take(self._rest + data) if self._is_understood else data
        if left:
            self._streams.data_received(left)

    def eof_received(self) -> bool | None:
        return self._streams.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        for channel in list(self._listeners):
            self._listeners.pop(channel).closed()
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
        """Hand frames to their listeners; return the others. An incomplete frame is kept until the rest arrives."""
        left: list[bytes] = []
        at = since = 0  # where this frame begins, and where the untaken frames before it begin
        end = len(data)
        while end - at >= _HEAD_BYTES:
            kind, channel, size = _head(data, at)
            after = at + _HEAD_BYTES + size + 1
            if kind not in _FRAME_TYPES or (after <= end and data[after - 1] != _END):
                self._is_understood = False  # not AMQP; aiormq raises the error
                at = end
                break
            if after > end:
                break
            if channel in self._listeners and self._is_taken(channel, kind, data[at + _HEAD_BYTES : after - 1]):
                left.append(data[since:at])
                since = after
            elif channel == 0 and kind == METHOD:
                self._note_alarm(data[at + _HEAD_BYTES : after - 1])
            at = after
        self._rest = data[at:]
        left.append(data[since:at])
        if since:
            left.append(self._heartbeat())
        return b"".join(left)

    def _is_taken(self, channel: int, kind: int, payload: bytes) -> bool:
        taken = self._listeners[channel].frame(kind, payload)
        if not taken and kind == METHOD and payload[:4] in _CHANNEL_OVER:
            self._listeners.pop(channel).closed()
        return taken

    def _note_alarm(self, payload: bytes) -> None:
        if payload.startswith((_BLOCKED, _UNBLOCKED)):
            self.is_blocked = payload.startswith(_BLOCKED)

    def _heartbeat(self) -> bytes:
        """A heartbeat for aiormq, at most one a second; empty in between.

        aiormq does not see the frames that are taken, and the server sends no heartbeats while it sends other frames.
        Without this aiormq would close the connection as dead.
        """
        now_s = self._clock()
        if now_s < self._next_heartbeat_s:
            return b""
        self._next_heartbeat_s = now_s + _HEARTBEAT_EVERY_S
        return _HEARTBEAT_FRAME


class _Opener:
    """A transport factory of aiormq."""

    frames: FrameTransport | None = None

    async def create(self, url: URL, **options: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        context = options.pop("ssl_context_provider")
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(loop=loop)
        streams = asyncio.StreamReaderProtocol(reader, loop=loop)
        frames = FrameTransport(streams, loop.time)
        tls = await context.get_context() if url.scheme == "amqps" else None
        try:
            transport, _ = await loop.create_connection(
                lambda: frames, str(url.host), int(url.port or 0), ssl=tls, **options
            )
        except OSError as error:
            raise AMQPConnectionError(*error.args) from error
        self.frames = frames
        return reader, asyncio.StreamWriter(transport, streams, reader, loop)


async def connect(url: URL, client_properties: Mapping[str, Any]) -> tuple[aio_pika.Connection, FrameTransport | None]:
    """A connection with its transport; without one if the installed aiormq and aio-pika are of another shape."""
    connection = aio_pika.Connection(url, client_properties=dict(client_properties))
    opener = _Opener()
    if is_supported(connection):
        connection.kwargs["transport_factory"] = opener
    await connection.connect()
    return connection, opener.frames


def is_supported(connection: Any) -> bool:
    """Whether a transport of ours finds its way into aiormq."""
    takes_factory = "transport_factory" in inspect.signature(aiormq.Connection.__init__).parameters
    return takes_factory and isinstance(getattr(connection, "kwargs", None), dict)
