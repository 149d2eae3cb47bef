"""What arrives for TLS: a crowd of tiny records holds up no other request.

A record costs about as much for one byte as for a thousand, and a change of keys (KeyUpdate of TLS 1.3), which takes 27
bytes and which a client may ask for at any time, five times as much. In one read there would be room for 9700 of them.
"""

import asyncio
from struct import Struct
from typing import cast

from hookline.ingress.turns import Turns

_READ_BYTES = 16_384  # beside the rest of a record: what begins in it costs ten milliseconds at most
_MAX_RECORDS = 8  # in a read that TLS gets at once
_HEAD = Struct(">xxxH")  # type, version, and the length of what follows


class TlsRecords(asyncio.BufferedProtocol):
    """Stands between a transport and the protocol of TLS, and passes on reads with many records in their turn.

    The bytes wait in the buffer of TLS. TLS, too, pauses the transport's reading.
    """

    is_costly = True

    def __init__(self, transport: asyncio.Transport, turns: Turns) -> None:
        self._transport = transport
        self._turns = turns
        self._tls = cast("asyncio.BufferedProtocol", transport.get_protocol())
        self._buffer = memoryview(b"")
        self._held_bytes = 0  # read, and not passed on
        self._has_paused = False  # not TLS, which may do so, too
        self._head = b""  # the part of a record's head that has arrived
        self._skipped_bytes = 0  # what is to come of the last record

    def get_buffer(self, sizehint: int) -> memoryview:
        self._pass_on()
        buffer = cast("memoryview", self._tls.get_buffer(sizehint))
        self._buffer = buffer[: self._skipped_bytes + _READ_BYTES]
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self._count(self._buffer[:nbytes]) <= _MAX_RECORDS:
            self._tls.buffer_updated(nbytes)
            return
        self._held_bytes = nbytes
        if self._transport.is_reading():
            self._has_paused = True
            self._transport.pause_reading()
        self._turns.parse(self)

    def parse_next(self) -> bool:
        if not self._transport.is_closing():
            if self._has_paused:
                self._has_paused = False
                self._transport.resume_reading()  # before TLS looks at the bytes, since it may pause the reading itself
            self._pass_on()
        return False

    def eof_received(self) -> bool | None:
        return self._tls.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._held_bytes = 0
        self._tls.connection_lost(exc)

    def pause_writing(self) -> None:
        self._tls.pause_writing()

    def resume_writing(self) -> None:
        self._tls.resume_writing()

    def _pass_on(self) -> None:
        size, self._held_bytes = self._held_bytes, 0
        if size:
            self._tls.buffer_updated(size)

    def _count(self, data: memoryview) -> int:
        """How many records begin in these bytes; one whose head is incomplete begins in the next."""
        if self._head:
            data, self._head = memoryview(self._head + data), b""
        size, at, count = len(data), self._skipped_bytes, 0
        while at + _HEAD.size <= size:
            (length,) = _HEAD.unpack_from(data, at)
            at += _HEAD.size + length
            count += 1
        if at < size:
            self._head, at = bytes(data[at:]), size
        self._skipped_bytes = at - size
        return count
