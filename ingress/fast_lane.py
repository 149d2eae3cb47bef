"""The fast lane: whole, ordinary callbacks are published in the turn that reads them, and answered from their confirms.

Everything else takes the usual way through aiohttp's tasks: what is refused, incomplete, or behind another request. So
does the answer to an event that could not be published. Both ways share the parser, the checks and the bytes of an
answer. The lane relies on private parts of aiohttp, as `IngressConnection` names them; with another minor version than
the one that it was written for, there is none.
"""

import asyncio
import logging
import time
from datetime import datetime
from operator import attrgetter
from typing import cast

import aiohttp
import msgspec
from aiohttp import hdrs
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import HttpRequestParser, RawRequestMessage

from hookline.ingress.connection import HEAD_END, HEAD_END_BYTES, IngressConnection, Whole
from hookline.ingress.parser_errors import MAX_FIELD_BYTES, MAX_HEADERS, MAX_LINE_BYTES
from hookline.ingress.receive import Receiver
from hookline.ingress.turns import Turns
from hookline.schemas.envelope import Envelope, moment
from hookline.schemas.provider import AnySource, Reply, Request

log = logging.getLogger("hookline.ingress")
_WRITTEN_FOR = "3.14."
_AT_ONCE_BYTES = 262_144  # in one turn of the event loop, so that a crowd holds up neither confirms nor health checks
_REQUEST_BYTES = 1024  # as many as cost what a request costs beside its bytes


def is_supported() -> bool:
    """Whether this is the minor version of aiohttp for which the fast lane was written. Logs a line if it is not."""
    is_known = aiohttp.__version__.startswith(_WRITTEN_FOR)
    if not is_known:
        log.warning(
            "the fast lane does not fit aiohttp %s: all requests take the usual way, which needs more CPU",
            aiohttp.__version__,
        )
    return is_known


class _Passage(msgspec.Struct):
    """One request on its way."""

    connection: IngressConnection
    request: Whole
    callback: Request
    source: AnySource
    started_s: float
    envelope: Envelope = cast("Envelope", None)  # until it is sealed
    sealed_s: float = 0.0


_source_name = attrgetter("source.name")


class FastLane:
    """Implements `connection.Lane`."""

    def __init__(self, receiver: Receiver, turns: Turns) -> None:
        self._receiver = receiver
        self._turns = turns
        self._offered: list[IngressConnection] = []
        self.parse = WholeRequests().parse

    def offer(self, connection: IngressConnection) -> None:
        """Begin with the request that waits, after everything of this turn has been read.

        The requests of one turn then run through the same code one after another, which the processor's caches reward.
        """
        if not self._offered:
            connection._loop.call_soon(self._begin)  # noqa: SLF001  quicker than to look it up
        self._offered.append(connection)

    def _begin(self) -> None:
        """Take one step after the other with the requests of this turn. One that fails is answered on the usual way."""
        self._turns.fill_up()
        passages = self._enter()
        if len(passages) > 1:
            passages.sort(key=_source_name)  # one provider's code after the other; the order within a source stays
        now_s = self._receiver.clock()
        self._publish(self._seal(self._verify(passages, now_s), moment(now_s)))

    def _enter(self) -> list[_Passage]:
        """Take requests that are offered from the usual way, as many as fit into a turn, unless they have to go it."""
        passages: list[_Passage] = []
        started_s = time.monotonic()
        taken = held_bytes = 0
        for connection in self._offered:
            taken += 1
            held_bytes += _REQUEST_BYTES + connection.held_bytes
            try:
                request = connection.leave_usual_way()
                if request is not None:
                    arrived = self._receiver.arrive(request)
                    if arrived is None:
                        connection.return_to_usual_way(request)
                    else:
                        callback, source = arrived
                        passages.append(_Passage(connection, request, callback, source, started_s))
            except Exception as fault:  # noqa: BLE001  handed over: the others of this turn go on
                _give_up(connection, fault)
            if held_bytes >= _AT_ONCE_BYTES:
                break
        self._offered = self._offered[taken:]
        if self._offered:
            asyncio.get_running_loop().call_soon(self._begin)
        return passages

    def forget(self) -> None:
        self._receiver.end()

    def _verify(self, passages: list[_Passage], now_s: float) -> list[_Passage]:
        receiver, genuine = self._receiver, []
        for passage in passages:
            callback, source = passage.callback, passage.source
            try:
                if source.allow_from:
                    receiver.check_address(source, passage.connection.address, callback.headers)
                reply = receiver.verify(callback, source, now_s)
            except Exception as failure:  # noqa: BLE001  `Receiver.answer` tells them apart, answers, counts and logs
                self._return(passage, failure)
                continue
            if reply is None:
                genuine.append(passage)
            else:
                self._answer(passage, reply)
        return genuine

    def _seal(self, passages: list[_Passage], received_at: datetime) -> list[_Passage]:
        receiver, sealed = self._receiver, []
        for passage in passages:
            try:
                passage.envelope = receiver.seal(passage.callback, passage.source, received_at)
                sealed.append(passage)
            except Exception as failure:  # noqa: BLE001  as in `_verify`
                self._return(passage, failure)
        return sealed

    def _publish(self, passages: list[_Passage]) -> None:
        publisher, sealed_s = self._receiver.publisher, time.monotonic()
        for passage in passages:
            try:
                passage.sealed_s = sealed_s
                publisher.begin(passage.envelope).when_ended(self._settle, passage)
            except Exception as failure:  # noqa: BLE001  as in `_verify`
                self._return(passage, failure)

    def _settle(self, passage: _Passage, failure: BaseException | None) -> None:
        if failure is None:
            try:
                self._receiver.note_durable(passage.envelope, passage.started_s, passage.sealed_s)
            except Exception as fault:  # noqa: BLE001  as in `_verify`
                failure = fault
        if failure is None:
            self._answer(passage, passage.source.provider.reply)
        else:
            self._return(passage, failure)

    def _return(self, passage: _Passage, failure: BaseException) -> None:
        """Have the request answered on the usual way."""
        if not passage.connection.return_to_usual_way(passage.request, failure):
            self._receiver.end()

    def _answer(self, passage: _Passage, reply: Reply) -> None:
        connection, (head, _) = passage.connection, passage.request
        try:
            connection.answer(reply, head.version, keep_alive=not (head.should_close or self._receiver.draining))
        except Exception as fault:  # noqa: BLE001  handed over
            _give_up(connection, fault)
        finally:
            self._receiver.end()


def _give_up(connection: IngressConnection, fault: Exception) -> None:
    """Close a connection whose request cannot be answered, so that its client does not wait."""
    asyncio.get_running_loop().call_exception_handler({"message": "a request failed", "exception": fault})
    connection.force_close()


class WholeRequests:
    """Parses bytes that are exactly one request, as those of nearly all callbacks are.

    aiohttp's parser makes a stream for each body, which costs a third as much as it takes to parse the request. Here it
    parses only the head, and the body is what follows. One parser serves all connections, since it stands behind a head
    whenever `parse` begins.
    """

    def __init__(self) -> None:
        self._parser: HttpRequestParser | None = None

    def parse(self, data: bytes) -> tuple[RawRequestMessage, bytes] | None:
        """The head and the body of the request that these bytes are, if it has a length and upgrades no connection.

        None for anything else, which the connection's own parser then reads from the first byte.
        """
        end = data.find(HEAD_END) + HEAD_END_BYTES
        size = len(data) - end
        if end < HEAD_END_BYTES or not size:
            return None
        parser, self._parser = self._parser or _parser_of_heads(), None  # one that fails is not used again
        try:
            messages, _, _ = parser.feed_data(data[:end])
        except HttpProcessingError:
            return None
        if len(messages) != 1:
            return None
        head = messages[0][0]
        if head.upgrade:
            return None
        if not head.should_close:  # after one that does, a parser reads no other
            self._parser = parser
        return (head, data[end:]) if head.headers.get(hdrs.CONTENT_LENGTH) == str(size) else None


def _parser_of_heads() -> HttpRequestParser:
    """A parser for which no request has a body. Only a body has its connection and its event loop."""
    return HttpRequestParser(
        None,
        None,
        0,
        max_line_size=MAX_LINE_BYTES,
        max_field_size=MAX_FIELD_BYTES,
        max_headers=MAX_HEADERS,
        response_with_body=False,
    )
