"""What a transport reads for TLS, in pieces that end anywhere."""

import asyncio
from typing import cast

import pytest

from hookline.ingress.tls_records import TlsRecords
from hookline.ingress.turns import Turns


class Tls(asyncio.BufferedProtocol):
    """Keeps what it is given."""

    def __init__(self) -> None:
        self._buffer = memoryview(bytearray(2**18))
        self.data = b""

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002  of the protocol
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.data += self._buffer[:nbytes]


class Socket:
    """The transport, which reads when it is told to."""

    def __init__(self) -> None:
        self.tls = Tls()
        self.is_paused = False

    def get_protocol(self) -> Tls:
        return self.tls

    def is_closing(self) -> bool:
        return False

    def is_reading(self) -> bool:
        return not self.is_paused

    def pause_reading(self) -> None:
        self.is_paused = True

    def resume_reading(self) -> None:
        self.is_paused = False


def record(size: int) -> bytes:
    return b"\x17\x03\x03" + size.to_bytes(2, "big") + bytes(size)


FEW = record(16_401) * 3
MANY = record(17) * 400


def read(records: TlsRecords, data: bytes) -> None:
    buffer = records.get_buffer(-1)
    assert len(data) <= len(buffer)
    buffer[: len(data)] = data
    records.buffer_updated(len(data))


@pytest.mark.parametrize("size", [1, 3, 7, 4096, 16_384])
async def test_large_records_pass_at_once_however_they_are_read(size: int) -> None:
    transport = Socket()
    records = TlsRecords(cast("asyncio.Transport", transport), Turns())
    for at in range(0, len(FEW), size):
        read(records, FEW[at : at + size])
        assert not transport.is_paused
    assert transport.tls.data == FEW


async def test_many_records_wait_for_their_turn_and_nothing_is_read_meanwhile() -> None:
    transport = Socket()
    records = TlsRecords(cast("asyncio.Transport", transport), Turns())
    read(records, record(3000))
    read(records, MANY[:4096])
    assert (transport.is_paused, transport.tls.data) == (True, record(3000))
    await asyncio.sleep(0)
    assert (transport.is_paused, transport.tls.data) == (False, record(3000) + MANY[:4096])


@pytest.mark.parametrize("size", [4096, 100], ids=["many records", "few records"])
async def test_a_read_that_comes_nevertheless_overtakes_nothing(size: int) -> None:
    transport = Socket()
    records = TlsRecords(cast("asyncio.Transport", transport), Turns())
    read(records, MANY[:4096])
    read(records, MANY[4096 : 4096 + size])
    await asyncio.sleep(0)
    assert (transport.is_paused, transport.tls.data) == (False, MANY[: 4096 + size])


async def test_reading_that_tls_has_paused_stays_paused() -> None:
    transport = Socket()
    records = TlsRecords(cast("asyncio.Transport", transport), Turns())
    transport.pause_reading()
    read(records, MANY[:4096])
    await asyncio.sleep(0)
    assert (transport.is_paused, transport.tls.data) == (True, MANY[:4096])


async def test_the_rest_of_a_large_record_is_read_at_once() -> None:
    records = TlsRecords(cast("asyncio.Transport", Socket()), Turns())
    read(records, FEW[:4096])
    assert len(records.get_buffer(-1)) > len(FEW) // 3 - 4096


async def test_what_waits_for_its_turn_is_dropped_with_its_connection() -> None:
    transport = Socket()
    records = TlsRecords(cast("asyncio.Transport", transport), Turns())
    read(records, MANY[:4096])
    records.connection_lost(None)
    await asyncio.sleep(0)
    assert transport.tls.data == b""
