"""One connection: aiohttp's, with our own time-outs, with bounds on what it holds, and with our form of errors."""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any, Protocol, cast

from aiohttp import HttpVersion, hdrs, web
from aiohttp.http_parser import HttpRequestParser, RawRequestMessage
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from aiohttp.web_protocol import _ErrInfo

from hookline.ingress import responses
from hookline.ingress.load import HEADER_BYTES, REQUEST_BYTES, Load
from hookline.ingress.parser_errors import refusal_of
from hookline.ingress.settings import IngressSettings
from hookline.ingress.timeouts import Timeouts
from hookline.ingress.turns import Turns
from hookline.schemas.errors import MalformedRequest, Overloaded, Refused
from hookline.schemas.provider import Reply

log = logging.getLogger("hookline.ingress")

MAX_HEAD_BYTES = 24_576
HEAD_END = b"\r\n\r\n"
HEAD_END_BYTES = len(HEAD_END)
LINGER_S = 1.0
_PART_BYTES = 2048
_FULL_READ_BYTES = 256_000  # uvloop's buffer: it reads again at once after a read that fills it
_CHUNKED_READS = 48  # what the chunks in a part may cost, in usual requests
_BEHIND_CR = b"\x0e"  # no byte of a line's end is greater
_MAX_LINES = 64  # of headers and chunks in a part that is parsed at once
_MIN_HEAD_BYTES = 16
_NO_ROOM = "the ingress has no room for more requests now"
_feed = web.RequestHandler.data_received  # quicker than by `super()`

Whole = tuple[RawRequestMessage, StreamReader | bytes]
"""A request that has arrived: its head, and its body to the end, which is a stream if aiohttp's way may have it."""


class Lane(Protocol):
    """Another way for a request than aiohttp's task."""

    def parse(self, data: bytes) -> Whole | None:
        """The request that these bytes are; None if they are to be parsed in aiohttp's way, whatever they are."""

    def offer(self, connection: "IngressConnection") -> None:
        """Begin with the request that waits, in one way or the other; nothing if one has begun meanwhile."""

    def forget(self) -> None:
        """A request that was to return to the usual way is never answered: its client is gone."""


class IngressConnection(web.RequestHandler):
    """One connection. It is closed if the client is slow to send a head or to read a response.

    Everything that it receives is counted until the request is answered. At most one request waits behind the one that
    is being answered. What one turn of the event loop parses is bounded: the rest of a segment waits for `Turns` as a
    backlog. Parser errors are answered in our form, and never quote the request.

    Relies on private parts of aiohttp: on `_messages`, the queue of heads and parser errors, and on `_request_count`,
    how many there were; on `_waiter`, which is pending while the connection is idle; on `_task_handler`, the task that
    awaits it; on `_current_request`; on the timer of idle connections; on the marks of closing, and of paused reading
    and writing; on `_resume_transport_reading`; on `pause_reading`, without which the parser never stops within a
    message; and on `_parser` and its size of a buffer.
    """

    __slots__ = (
        "_backlog",
        "_body",
        "_body_bytes",
        "_has_ended",
        "_has_paused",
        "_has_tls",
        "_head_bytes",
        "_is_awaiting_head",
        "_is_between_requests",
        "_is_body_open",
        "_is_chunked",
        "_is_discarding",
        "_is_early",
        "_is_last",
        "_lane",
        "_offer",
        "_promised_bytes",
        "_resting",
        "_socket",
        "_timeouts",
        "address",
        "client",
        "failure",
        "has_rest",
        "held_bytes",
        "is_overloaded",
        "load",
        "noted",
        "reading",
        "turns",
    )

    def __init__(
        self,
        manager: web.Server,
        settings: IngressSettings,
        load: Load,
        turns: Turns,
        timeouts: Timeouts,
        lane: "Lane | None" = None,
        **options: Any,
    ) -> None:
        super().__init__(manager, keepalive_timeout=settings.keepalive_timeout_s, **options)
        self._lane = lane
        self._offer = IngressConnection.go_usual_way if lane is None else lane.offer
        self._resting: asyncio.Future[None] | None = None  # `_waiter`, while the fast lane has the request
        self._timeouts = timeouts
        self._socket: asyncio.WriteTransport | None = None  # until it is lost; aiohttp forgets one that it closes
        self.load = load
        self.turns = turns
        self._max_msg_queue_size = 2
        self._msg_queue_resume_size = 0
        self._parser = _parser(self, **options)
        self._has_ended = False  # the client has closed its side
        self._has_paused = False
        self._has_tls = False
        self._is_awaiting_head = False
        self._is_between_requests = True  # it is known that aiohttp's parser holds no part of another request
        self._body: StreamReader = EMPTY_PAYLOAD
        self._body_bytes = 0
        self._is_chunked = False
        self._is_early = lane is not None  # aiohttp's task may not wait yet: it would keep a request from the lane
        self._is_body_open = False
        self._head_bytes = 0
        self._promised_bytes = 0
        self._backlog = b""
        self._is_last = False  # what follows is of a request that has been answered, and no other is read
        self._is_discarding = False
        self.address = ""
        self.client = ""
        """Under whose limit it falls: its address or network. `ConnectionLimits` sets this."""
        self.held_bytes = 0
        self.has_rest = False
        """Whether, since the last answer, a second request or an incomplete body has arrived."""
        self.is_overloaded = False
        """Whether what is not read yet is to be refused."""
        self.noted: Callable[[Refused, str, int], None] = lambda _refusal, _address, _status: None
        """Is told of a request that is refused before it reaches the receiver, and of the address."""
        self.failure: BaseException | None = None
        """Why the next request, which the fast lane began to answer, is not accepted."""
        self.reading: asyncio.Timeout | None = None
        """Ends the read that waits for the rest of a body."""

    @property
    def is_new(self) -> bool:
        """Whether it has sent no complete head yet; what it has sent is parsed."""
        return not (self._request_count or self._backlog)

    @property
    def idle_since_s(self) -> float | None:
        """When its last request was answered, by the loop's clock plus a constant; None if it waits for no other.

        0 if it is of no use to a client: if it waits for the rest of a body that was refused, for answers to be read,
        or only to be closed, which takes some time if the client does not read, or does not answer the end of TLS.
        """
        if self._paused or (self._socket is not None and self._socket.is_closing()):
            return 0.0
        if self._is_last and self._request_count and not self._messages:
            return None if self._is_answering else 0.0
        is_waiting = self._waiter is not None and not self._waiter.done()
        is_idle = self._request_count and is_waiting and not (self._messages or self._backlog or self._head_bytes)
        return self._next_keepalive_close_time if is_idle else None

    @property
    def is_pipelining(self) -> bool:
        """Whether another request waits behind the one that is being answered."""
        in_progress = self._is_answering
        return len(self._messages) + in_progress > 1 or (in_progress and bool(self._backlog))

    @property
    def _is_answering(self) -> bool:
        """Whether a request is in progress, in either way."""
        return self._current_request is not None or self._resting is not None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Any unsent byte of a response pauses the writing, and is timed. A transport of TLS pauses when its limit is
        # reached, others when it is exceeded. uvloop's transports have no asyncio class.
        self._has_tls = transport.get_extra_info("ssl_object") is not None
        self._socket = cast("asyncio.WriteTransport", transport)
        self._socket.set_write_buffer_limits(int(self._has_tls))
        self.address = (transport.get_extra_info("peername") or ("",))[0]
        super().connection_made(transport)
        self._await_head()

    @property
    def is_ending(self) -> bool:
        """Whether the client sends no more, and nothing waits behind the request that is being answered."""
        return self._has_ended and not (self._messages or self._backlog)

    def eof_received(self) -> bool:  # type: ignore[override]  # asyncio's contract; aiohttp keeps no connection
        """Keep the connection of a client that sends no more, until all that it asked is answered; False closes it.

        TLS has no half-closed connections. A request that is not complete by then is answered 400 behind others, and
        not at all if it is the only one and its head is not complete.
        """
        if self._has_tls:
            return False
        self._has_ended = True
        return bool(self._backlog) or self._end()

    def _end(self) -> bool:
        """Give up what is not complete; whether anything is to be answered."""
        is_idle = self._waiter is not None and not self._waiter.done() and not self._messages
        is_incomplete = not self._body.is_eof()
        if is_idle or not self._request_count or (is_incomplete and self._is_last):
            return False
        if is_incomplete:
            self._break_off()
        if not self._messages:
            self._close = True  # aiohttp closes the connection after the answer
        return True

    def leave_usual_way(self) -> Whole | None:
        """Take the request that waits away from aiohttp's task, which goes on waiting until the answer is written.

        None if the task has it: if it is not whole, not alone, or not to be answered, or something holds up its answer.
        None, too, if no request waits, or one is in progress.
        """
        waiter = self._waiter
        if (
            waiter is None
            or waiter.done()
            or len(self._messages) != 1
            or self._is_body_open
            or self._is_last
            or self._backlog
            or self._reading_paused
            or self._buffer_paused
            or self._paused
        ):
            self.go_usual_way()
            return None
        self._resting, self._waiter = waiter, None
        return self._messages.popleft()  # type: ignore[return-value]  # behind a parser error it is the last

    def answer(self, reply: Reply, version: HttpVersion, *, keep_alive: bool) -> None:
        """Write the provider's reply to the request that left the usual way, and go on with what waits behind it."""
        self.load.held_bytes -= self.held_bytes
        self.held_bytes = 0
        if self.has_rest:
            self.hold_rest()
        if self.transport is None:
            return
        if self._has_ended and self.is_ending:
            keep_alive = False
        self.transport.write(responses.reply_bytes(reply, version, int(time.time()), keep_alive))
        if self._close or not keep_alive:
            self.force_close()
            return
        self._waiter, self._resting = self._resting, None
        self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        if self._keepalive_handle is None:
            self._keepalive_handle = self._loop.call_at(self._next_keepalive_close_time, self._process_keepalive)
        if self._messages:
            self.go_usual_way()
        else:
            self._body = EMPTY_PAYLOAD  # the stream holds the whole body: the lane does not take it out

    def return_to_usual_way(self, request: Whole, failure: BaseException | None = None) -> bool:
        """Have aiohttp's task answer a request; `failure` is why it is not accepted. False if the client is gone."""
        if self.transport is None:
            return False
        self.failure = failure
        self._messages.appendleft(request)  # type: ignore[arg-type]  # as in `_parse_whole`
        self._waiter, self._resting = self._resting, None
        self.go_usual_way()
        return True

    def raise_failure(self) -> None:
        """Raise why the request is not accepted, once."""
        failure, self.failure = self.failure, None
        try:
            if failure is not None:
                raise failure
        finally:
            del failure  # in its own traceback it would hold the body until garbage is collected

    def go_usual_way(self) -> None:
        """Wake aiohttp's task if it is idle and a request waits."""
        waiter = self._waiter
        if self._messages and waiter is not None and not waiter.done():
            head, body = cast("Whole", self._messages[0])  # or a parser error
            if isinstance(body, bytes):
                self._messages[0] = (head, self._stream_of(body))
                self.has_rest = self.has_rest or len(body) > _PART_BYTES
            waiter.set_result(None)

    def _stream_of(self, body: bytes) -> StreamReader:
        """The stream that aiohttp's parser would have made of a body."""
        stream = StreamReader(self, self._read_bufsize, loop=self._loop)
        stream.feed_data(body)
        stream.feed_eof()
        return stream

    def _process_keepalive(self) -> None:
        """Close the connection if it is idle, and no part of the next request has arrived."""
        self.go_usual_way()  # if the lane has not begun with what waits
        if self._backlog or self._is_awaiting_head:
            self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        super()._process_keepalive()

    async def start(self) -> None:
        """Answer one request after another, and then close the connection: what aiohttp's task does."""
        try:
            await super().start()
        finally:
            self._loop.call_soon(self._read_again)  # behind the news that the connection is lost

    def force_close(self) -> None:
        """Close the connection once: after a second time asyncio's TLS no longer aborts it."""
        if self._resting is not None:
            self._resting.cancel()
        if self.transport is not None and self.transport.is_closing():
            self.transport = None
        self._read_again()
        super().force_close()

    def _read_again(self) -> None:
        """Let TLS close: asyncio's never closes a paused transport whose client has ended the TCP connection."""
        if self._has_tls and self.transport is not None:
            self.transport.resume_reading()

    def give_way(self) -> None:
        self.force_close()
        self.abort()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._socket = None
        self._stop_waiting()
        self._timeouts.write.stop(self)
        if self._waiter is not None and self._waiter.done():
            self._stop_waking()
        self._backlog = b""
        self.load.hold(self, -self.held_bytes)
        self._is_last = self._is_discarding = True
        super().connection_lost(exc)
        self._messages.clear()  # bodies know their connection: they would wait for the garbage collector
        self._body = EMPTY_PAYLOAD

    def _stop_waking(self) -> None:
        """End aiohttp's task, which would find no connection when it wakes up."""
        if self._task_handler is not None:
            self._task_handler.cancel()
        if self.failure is not None and self._lane is not None:
            self.failure = None
            self._lane.forget()

    def data_received(self, data: bytes) -> None:
        if self._is_last:
            self._drop(data)
            return
        size = len(data)
        self.held_bytes += size
        self.load.held_bytes += size
        turns = self.turns
        if (
            size > _PART_BYTES
            or self._backlog
            or turns.reads_left <= 0
            or self._is_early
            or (self._is_chunked and self._is_body_open)
        ):
            self._receive_in_parts(data)
        else:
            turns.reads_left -= 1
            if not self._parse_whole(data):
                self._parse(data)
        if self._messages and self._waiter is not None:  # none is in progress
            self._offer(self)

    def _parse_whole(self, data: bytes) -> bool:
        """Note the request that these bytes are, past aiohttp's parser. False, and nothing done, if that cannot be."""
        if (
            not self._is_between_requests
            or self._lane is None
            or self._messages
            or self._waiter is None
            or self._close
            or self._force_close
        ):
            return False
        request = self._lane.parse(data)
        if request is None:
            return False
        if self._is_awaiting_head:
            self._stop_waiting()
        self._is_between_requests = not request[0].should_close
        self._request_count += 1
        self._messages.append(request)  # type: ignore[arg-type]  # `go_usual_way` makes a stream of the body
        if self.load.held_bytes > self.load.max_partial_bytes:
            self._make_room()
        return True

    def _parse(self, data: bytes) -> None:
        """Parse, and count what has arrived. `_offer` begins with a request: hidden, its task is not woken here."""
        waiter, self._waiter = self._waiter, None
        before = self._request_count
        self._is_between_requests = False
        try:
            _feed(self, data)
            may_be_followed = (
                data < _BEHIND_CR  # they may begin in the middle of the end of its head
                or data.find(HEAD_END) + HEAD_END_BYTES + self._messages[-1][1].total_bytes != len(data)
                if self._request_count != before  # these bytes are mostly one request
                else self._is_body_open
            )
            if may_be_followed:
                self._parse_following()
        finally:
            self._waiter = waiter
        if self._messages:
            if self._is_awaiting_head:
                self._stop_waiting()
            message, body = self._messages[-1]
            if not isinstance(message, RawRequestMessage):
                self._note_failure(message)
            elif self._request_count != before:
                self._begin_request(message, body)
                is_last = self._is_body_open or may_be_followed or message.should_close or message.upgrade
                self._is_between_requests = not is_last
            elif self._is_body_open:
                self._note_part(data)
            if (waiter is None and self._is_answering) or len(self._messages) > 1:
                self._hold_back()
        elif data or self._is_body_open:
            self._note_part(data)
        if self.load.held_bytes > self.load.max_partial_bytes:
            self._make_room()

    def _make_room(self) -> None:
        if not self._is_last:
            is_partial = self._is_body_open or self._head_bytes or self._backlog
            self.load.make_room(self, self.load.max_partial_bytes if is_partial else self.load.max_bytes)

    def _parse_following(self) -> None:
        """Parse what follows a request in the same bytes.

        The parser stops behind each request, since an error of one would lose those that it had parsed before.
        """
        before = -1
        while self._request_count != before and self._is_behind_request():
            before = self._request_count
            _feed(self, b"")

    def _is_behind_request(self) -> bool:
        """Whether the parser has stopped behind a request, or nothing has arrived."""
        message, body = self._messages[-1] if self._messages else (None, self._body)
        return body.is_eof() and not isinstance(message, _ErrInfo)

    def _begin_request(self, message: RawRequestMessage, body: StreamReader) -> None:
        if self._head_bytes:
            self.load.end(self)
        self._body, self._is_chunked, self._head_bytes = body, message.chunked, 0
        self._is_body_open = not body.is_eof()
        if self._is_chunked:
            self.turns.reads_left -= _CHUNKED_READS
        if self._is_body_open:
            self.has_rest = True
            self._body_bytes = int(message.headers.get(hdrs.CONTENT_LENGTH, "0"))
            self.load.hold(self, REQUEST_BYTES + HEADER_BYTES * len(message.raw_headers))

    def _note_part(self, data: bytes) -> None:
        """Count what has arrived of a head or a body that is not complete."""
        if self._is_body_open:
            self._is_body_open = not self._body.is_eof()
            arrived = min(self._promised_bytes, len(data))  # counted when it was announced
            self._promised_bytes -= arrived
            self.load.hold(self, -arrived)
            return
        if not self._head_bytes:
            self.load.begin_head(self, self.client)
        self._head_bytes += len(data)
        self.load.hold(self, HEADER_BYTES * data.count(b"\n"))
        if self._waiter is not None and not self._waiter.done():
            self._await_head()
        if self._head_bytes > MAX_HEAD_BYTES:
            self._refuse(MalformedRequest("the head of the request is too large"), 431)

    def _hold_back(self) -> None:
        """Read no more until the request that is in progress has been answered."""
        self.has_rest = True
        self.turns.reads_left -= len(self._messages)
        self.load.hold(self, REQUEST_BYTES * len(self._messages))
        if not self._buffer_paused:
            self._pause_reading_for_buffer()

    @property
    def is_costly(self) -> bool:
        """Whether what arrives next is of a body in chunks."""
        return self._is_chunked and self._is_body_open

    def _receive_in_parts(self, data: bytes) -> None:
        """Parse what is not costly as far as this turn allows, and leave the rest to the next turns."""
        waits, self._is_early = self._is_early and self._waiter is None, False
        has_backlog = bool(self._backlog)
        if not (has_backlog or data):  # aiohttp goes on with what waits in its parser
            self._parse(data)
            return
        self._backlog += data
        is_followed = not has_backlog and len(data) >= _FULL_READ_BYTES and self._is_between_requests
        if not (waits or has_backlog or is_followed):
            self._parse_backlog()
        if self._backlog:
            if not is_followed:
                self._pause_transport_reading()
            if not (has_backlog and data):
                self.turns.parse(self)

    def _parse_backlog(self) -> None:
        turns = self.turns
        while self._backlog and turns.reads_left > 0 and not (self.is_costly or self._must_wait()):
            turns.reads_left -= 1
            self._parse_part()

    def parse_next(self) -> bool:
        """Parse the next part of the backlog; whether more can be parsed now."""
        if self._must_wait():
            return False
        try:
            self._parse_part()
        except BaseException:
            self.force_close()
            raise
        if self._messages and self._waiter is not None:  # none is in progress
            self._offer(self)
        if self._must_wait():
            return False
        if self._backlog:
            return True
        if not self._has_ended:
            self._resume_transport_reading()
        elif not self._end():
            self.force_close()
        return False

    def _parse_part(self) -> None:
        """Parse all of the backlog if it is one request with a short head, otherwise a part of it."""
        data, self._backlog = self._backlog, b""
        if data.find(HEAD_END, 0, _PART_BYTES) < 0 or not self._parse_whole(data):
            size = self._next_part_bytes(data)
            self._backlog = data[size:]
            self._parse(data[:size])

    def _next_part_bytes(self, data: bytes) -> int:
        """All of a body without chunks, a head with many lines behind it, or a part that costs about as much."""
        if self._is_body_open and not self._is_chunked:
            return max(1, self._body_bytes - self._body.total_bytes)
        if not self._is_body_open and data.count(b"\n", 0, _PART_BYTES) > _MAX_LINES:
            end = data.find(HEAD_END, _MIN_HEAD_BYTES, _PART_BYTES)
            if end > 0:
                return end + HEAD_END_BYTES
        return _PART_BYTES

    def _resume_transport_reading(self) -> None:
        """Read again, unless a backlog waits: aiohttp would add another segment to it with each answer."""
        if not self._backlog:
            super()._resume_transport_reading()

    def _must_wait(self) -> bool:
        return self._reading_paused or self._buffer_paused or self._is_last

    def begin_body(self, size: int, client: str) -> None:
        """Count the rest of a body of this size before it arrives. Raises Overloaded if there is no room for it."""
        self.load.begin_body(self, client)
        self._promised_bytes = max(0, size - self._body.total_bytes)
        self.load.hold(self, self._promised_bytes)
        self.load.make_room(self, self.load.max_partial_bytes)
        self.check_room()
        self._timeouts.body.start(self)

    def end_reading(self) -> None:
        """End the read that waits for the rest of a body with TimeoutError."""
        if self.reading is not None and not self.reading.expired():
            self.reading.reschedule(self._loop.time())

    def end_body(self) -> None:
        self._timeouts.body.stop(self)
        self.reading = None
        self.load.end(self)

    def check_room(self) -> None:
        """Raise Overloaded if what is not read yet is to be refused."""
        if self.is_overloaded:
            raise Overloaded(_NO_ROOM)

    def hold_rest(self) -> None:
        """Count the requests that wait behind the one that has been answered, unless that was not read to its end.

        Those of a lost connection are never answered, so nothing would take them off the count again.
        """
        if self.transport is None:
            return
        self.has_rest = bool(self._messages) or self._is_body_open
        if self._is_body_open and not self._messages:
            self._is_last = True
            self._backlog = b""
        else:
            bodies = sum(body.total_bytes for _, body in self._messages)
            self.load.hold(self, bodies + REQUEST_BYTES * len(self._messages) + len(self._backlog))

    def shed(self) -> None:
        """Refuse what is not read yet, and read no more. `Load` calls this, and no longer counts the connection."""
        self._is_last = self._is_discarding = True
        self._backlog = b""
        self.is_overloaded = True
        if self.reading is not None:
            self.end_reading()
        elif self._is_answering:
            self.close()
        elif not self._messages:
            self._refuse(Overloaded(_NO_ROOM))

    def _refuse(self, refusal: Refused, status: int = 503) -> None:
        """Answer what is no request yet, and read no more."""
        self._is_last = self._is_discarding = True
        self._backlog = b""
        self.load.end(self)
        self._stop_waiting()
        self._request_count += 1
        self._messages.append((_ErrInfo(status, refusal, ""), EMPTY_PAYLOAD))
        self.go_usual_way()

    def _drop(self, data: bytes) -> None:
        """Parse what is left of a body that is of no use, so that its end is seen, unless that costs too much."""
        if self._is_chunked and (len(data) > _PART_BYTES or self.turns.reads_left <= 0):
            self._is_discarding = True
        if self._is_discarding:
            return
        if self._is_chunked:
            self.turns.reads_left -= _CHUNKED_READS
        else:
            data = data[: max(0, self._body_bytes - self._body.total_bytes)]
        _feed(self, data)

    def pause_reading(self) -> None:
        self._has_paused = True
        super().pause_reading()

    def resume_reading(self, resume_parser: bool = True) -> None:  # noqa: FBT001, FBT002  aiohttp's signature
        """Do nothing before the first pause: aiohttp calls this twice for each body, at some cost."""
        if self._has_paused:
            super().resume_reading(resume_parser)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._timeouts.write.start(self)

    def resume_writing(self) -> None:
        self._timeouts.write.stop(self)
        super().resume_writing()

    def abort(self) -> None:
        """Close at once. `force_close` alone waits until the client has read everything."""
        if self._socket is not None:
            self._socket.abort()

    def handle_error(
        self,
        request: web.BaseRequest,  # noqa: ARG002  aiohttp's signature
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002  quotes the request
    ) -> web.StreamResponse:
        """The response to a parser error, in our form. aiohttp's own response would quote the request."""
        if isinstance(exc, Refused):
            self.noted(exc, self.address, status)
            return responses.refused(exc, status)
        if status >= 500:
            log.error("a request failed in the server: %s", type(exc).__name__)
            return responses.unavailable()
        refusal, status = refusal_of(exc)
        self.noted(refusal, self.address, status)
        return responses.refused(refusal, status)

    def _note_failure(self, failure: _ErrInfo) -> None:
        """Read no more after a parser error, and do not let it keep the frames in which it was raised.

        They hold the error, the connection and the bytes, which only the garbage collector would free.
        """
        if failure.exc is not None:
            failure.exc.__traceback__ = None
        self._break_off()

    def _break_off(self) -> None:
        """Fail the read of an incomplete body, which would otherwise wait for the rest until its time-out."""
        self._is_last = self._is_discarding = True
        self._backlog = b""
        if not self._body.is_eof():
            self._body.set_exception(web.RequestPayloadError("the parser has failed"))
            self._lingering_time = 0.0  # nothing more of it will arrive

    def _await_head(self) -> None:
        if not self._is_awaiting_head:
            self._is_awaiting_head = True
            self._timeouts.head.start(self)

    def _stop_waiting(self) -> None:
        self._is_awaiting_head = False
        self._timeouts.head.stop(self)


def peer_of(request: web.BaseRequest) -> str:
    """The address of the other side; behind a proxy that speaks the PROXY protocol, the one that it names."""
    return cast("IngressConnection", request.protocol).address


def _parser(
    connection: web.RequestHandler, *, loop: asyncio.AbstractEventLoop, auto_decompress: bool, **options: Any
) -> HttpRequestParser:
    """The parser that aiohttp would make, which stops behind each request instead of behind 32."""
    limits = {name: options[name] for name in ("max_line_size", "max_field_size", "max_headers")}
    return HttpRequestParser(
        connection,
        loop,
        connection._read_bufsize,  # noqa: SLF001  as aiohttp makes it
        payload_exception=web.RequestPayloadError,
        auto_decompress=auto_decompress,
        max_msg_queue_size=1,
        **limits,
    )
