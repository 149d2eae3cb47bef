"""The fast lane: whole, ordinary callbacks are published in the turn that reads them, and answered from their confirms.

Everything else takes the usual way through aiohttp's tasks: what is refused, incomplete, or behind another request. So
does the answer to an event that could not be published. Both ways share the parser, the checks and the bytes of an
answer. The lane relies on private parts of aiohttp, as `IngressConnection` names them; with another minor version than
the one that it was written for, there is none.
"""

import asyncio
from functools import partial

import aiohttp
from aiohttp import HttpVersion11, hdrs, web
from aiohttp.http_parser import RawRequestMessage

from hookline.ingress.connection import IngressConnection
from hookline.ingress.receive import Begun, Receiver
from hookline.schemas.broker import Confirm
from hookline.schemas.provider import Reply

_WRITTEN_FOR = "3.14."
_MAX_BODY_BYTES = 16_384  # to verify more than that would hold up others
_AT_ONCE = 256  # in one turn of the event loop, so that a crowd holds up neither confirms nor health checks


def is_supported() -> bool:
    """Whether this is the minor version of aiohttp for which the fast lane was written."""
    return aiohttp.__version__.startswith(_WRITTEN_FOR)


class FastLane:
    """Implements `connection.Lane`."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._offered: list[IngressConnection] = []

    def offer(self, connection: IngressConnection) -> None:
        """Begin with the request that waits, after everything of this turn has been read.

        The requests of one turn then run through the same code one after another, which the processor's caches reward.
        """
        if not self._offered:
            asyncio.get_running_loop().call_soon(self._begin)
        self._offered.append(connection)

    def _begin(self) -> None:
        offered, self._offered = self._offered[:_AT_ONCE], self._offered[_AT_ONCE:]
        if self._offered:
            asyncio.get_running_loop().call_soon(self._begin)
        for connection in offered:
            try:
                if connection.has_waiting and not self.takes(connection):
                    connection.go_usual_way()
            except Exception as fault:  # noqa: BLE001  handed over: the others of this turn go on
                _give_up(connection, fault)

    def forget(self) -> None:
        self._receiver.end()

    def takes(self, connection: IngressConnection) -> bool:
        """Begin to publish the request that waits. False if it must take the usual way."""
        request = connection.only_request()
        if request is None or not _is_ordinary(request._message):  # noqa: SLF001
            return False
        try:
            begun = self._receiver.begin(request)
        except Exception as failure:  # noqa: BLE001  `Receiver.answer` tells them apart, answers, counts and logs
            connection.failure = failure
            return False
        if begun is None:
            return False
        connection.leave_usual_way()
        if isinstance(begun, Reply):
            self._answer(connection, begun)
        else:
            begun.confirmed.add_done_callback(partial(self._settle, connection, request, begun))
        return True

    def _settle(
        self, connection: IngressConnection, request: web.BaseRequest, begun: Begun, confirmed: Confirm
    ) -> None:
        failure = asyncio.CancelledError() if confirmed.cancelled() else confirmed.exception()
        if failure is None:
            try:
                self._receiver.note_durable(begun)
            except Exception as fault:  # noqa: BLE001  as in `takes`
                failure = fault
        if failure is None:
            self._answer(connection, begun.reply)
        elif not connection.return_to_usual_way(request, failure):
            self._receiver.end()

    def _answer(self, connection: IngressConnection, reply: Reply) -> None:
        try:
            connection.answer(reply, keep_alive=not self._receiver.draining)
        except Exception as fault:  # noqa: BLE001  handed over
            _give_up(connection, fault)
        finally:
            self._receiver.end()


def _give_up(connection: IngressConnection, fault: Exception) -> None:
    """Close a connection whose request cannot be answered, so that its client does not wait."""
    asyncio.get_running_loop().call_exception_handler({"message": "a request failed", "exception": fault})
    connection.force_close()


def _is_ordinary(message: RawRequestMessage) -> bool:
    headers = message.headers
    return (
        message.method == hdrs.METH_POST
        and message.version == HttpVersion11
        and not (message.should_close or message.chunked or message.upgrade or message.compression)
        and hdrs.EXPECT not in headers
        and len(length := headers.get(hdrs.CONTENT_LENGTH, "")) < 6
        and length.isdecimal()
        and int(length) <= _MAX_BODY_BYTES
    )
