"""What `hookline status` asks the operator's ports of this machine."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from hookline.admin.settings import AdminSettings
from hookline.admin.visit import CLOSED, SILENT, TOKEN_REFUSED, OnPort, processes_here
from tests.admin.test_admin_server import serving

BROKER = "rabbit:5672/"


async def found(port: int, token: str = "", broker: str = BROKER) -> OnPort | None:
    for each in await processes_here(AdminSettings(port=port, token=token), broker):
        if each.port == port:
            return each
    return None


@asynccontextmanager
async def saying(answer: bytes | None) -> AsyncIterator[int]:
    """A program on a port that gives this answer to whatever is asked, or none."""

    asked: list[asyncio.StreamWriter] = []

    async def answered(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(writer)
        if answer is not None:
            writer.write(answer)
            writer.write_eof()

    server = await asyncio.start_server(answered, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in asked:
            writer.close()
            await writer.wait_closed()


async def test_a_process_says_what_it_is_doing() -> None:
    async with serving() as (_, port):
        on_port = await found(port)
    assert on_port is not None
    assert [(each.role, each.pid, each.ready) for each in on_port.processes] == [("worker", 7, True)]


async def test_a_process_of_another_installation_is_left_out() -> None:
    async with serving() as (_, port):
        assert await found(port, broker="other:5672/") is None


async def test_a_process_with_another_token_is_named() -> None:
    async with serving(token="t" * 16) as (_, port):
        assert await found(port, token="t" * 16) is not None
        assert await found(port, token="u" * 16) == OnPort(port, fault=TOKEN_REFUSED)


async def test_what_accepts_and_does_not_answer_is_named() -> None:
    async with saying(None) as port:
        assert await found(port) == OnPort(port, fault=SILENT)


async def test_what_accepts_and_closes_at_once_is_named() -> None:
    """So does the event loop of a process that may open no more files."""
    async with saying(b"") as port:
        assert await found(port) == OnPort(port, fault=CLOSED)


async def test_another_program_is_left_out() -> None:
    for answer in (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", b"SSH-2.0-x\r\n"):
        async with saying(answer) as port:
            assert await found(port) is None


async def test_without_an_operators_port_nothing_is_asked() -> None:
    assert await processes_here(AdminSettings(port=0), BROKER) == []
