"""What one turn of the event loop does is bounded, however many connections have sent something."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

import pytest
from aiohttp.http_parser import RawRequestMessage

from hookline.ingress import turns
from hookline.ingress.connection import IngressConnection
from hookline.ingress.turns import Turns
from tests.ingress.callbacks import GOOD, get, post
from tests.ingress.chunks import END, chunk, in_chunks
from tests.ingress.http_client import Client, let_ingress_run
from tests.ingress.running_ingress import RunningIngress, running_ingress
from tests.ingress.sources import KRTC

CROWD = 30
CHUNKS = [chunk(b"x")] * 5000
LARGE = replace(KRTC, max_body_bytes=2**20)
COSTLY = {
    "chunks in a small segment": (in_chunks(*CHUNKS[:200], END), [401]),
    "chunks in a large segment": (in_chunks(*CHUNKS, END), [401]),
    "chunks behind a body": (post(LARGE, body=b"x" * 3000) + in_chunks(*CHUNKS, END), [401, 401]),
    "chunks behind a small request": (GOOD + in_chunks(*CHUNKS[:200], END), [200, 401]),
}


@asynccontextmanager
async def crowd(ingress: RunningIngress) -> AsyncIterator[tuple[list[Client], list[IngressConnection]]]:
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(ingress.connect()) for _ in range(CROWD)]
        async with asyncio.timeout(10):
            while len(ingress.server.connections) < CROWD:  # noqa: ASYNC110  a new connection gives no signal
                await asyncio.sleep(0.01)
        await let_ingress_run()
        yield clients, [each for each in ingress.server.connections if isinstance(each, IngressConnection)]


def chunks_parsed(connections: list[IngressConnection]) -> int:
    """How many chunks of bodies that are not answered are parsed; each holds one byte."""
    waiting = [message for each in connections for message in each._messages]  # noqa: SLF001
    return sum(body.total_bytes for head, body in waiting if isinstance(head, RawRequestMessage) and head.chunked)


@pytest.mark.parametrize(("request_", "expected"), COSTLY.values(), ids=COSTLY)
async def test_a_crowd_of_chunks_is_parsed_in_many_turns(
    request_: bytes, expected: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "_READS", CROWD * 3)
    async with running_ingress({LARGE.name: LARGE}) as ingress, crowd(ingress) as (clients, connections):
        connections[0].turns.reads_left = CROWD * 3
        for connection in connections:
            connection.data_received(request_)
        assert chunks_parsed(connections) <= 3 * 350
        for client in clients:
            answers = [await client.answer() for _ in expected]
            assert [answer.status for answer in answers if answer] == expected


async def test_usual_requests_of_a_crowd_are_parsed_in_several_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "_READS", 10)
    async with running_ingress() as ingress, crowd(ingress) as (clients, connections):
        connections[0].turns.reads_left = 10
        for connection in connections:
            connection.data_received(GOOD)
        assert sum(not connection.is_new for connection in connections) == CROWD  # those that wait are not silent
        assert sum(bool(connection._messages) for connection in connections) == 10  # noqa: SLF001
        answers = [await client.answer() for client in clients]
        assert [answer.status for answer in answers if answer] == [200] * CROWD


async def test_callbacks_of_earlier_turns_hold_up_none_of_this_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "_READS", CROWD)
    async with running_ingress() as ingress, crowd(ingress) as (clients, connections):
        for _ in range(3):
            connections[0].turns.reads_left = min(connections[0].turns.reads_left, CROWD)
            for connection in connections:
                connection.data_received(GOOD)
            assert all(connection._messages for connection in connections)  # noqa: SLF001
            answers = [await client.answer() for client in clients]
            assert [answer.status for answer in answers if answer] == [200] * CROWD


def is_idle(connection: IngressConnection) -> bool:
    return connection.idle_since_s is not None


async def test_a_request_that_waits_for_its_turn_keeps_its_connection() -> None:
    async with running_ingress() as ingress, ingress.connect() as client:
        assert await client.send_until_answered([GOOD]) is not None
        [connection] = [each for each in ingress.server.connections if isinstance(each, IngressConnection)]
        await let_ingress_run()
        assert is_idle(connection)
        connection.turns.reads_left = 0
        connection.data_received(GOOD)
        assert not is_idle(connection)
        connection._next_keepalive_close_time = 0.0  # noqa: SLF001  its timer fires now
        connection._process_keepalive()  # noqa: SLF001
        answer = await client.answer()
        assert answer is not None
        assert answer.status == 200


async def test_pipelined_requests_do_not_grow_a_backlog() -> None:
    """Nothing more is read while requests wait that have been read."""
    async with running_ingress() as ingress, crowd(ingress) as ([client, *_], connections):
        sending = asyncio.create_task(client.send(get("/healthz") * 50_000))
        most = 0
        while max(connection._request_count for connection in connections) < 500:  # noqa: SLF001
            await asyncio.sleep(0)
            most = max(most, *(connection.held_bytes for connection in connections))
        assert 0 < most < 2**20
        sending.cancel()


async def test_a_body_in_chunks_ends_though_the_parser_has_paused() -> None:
    """aiohttp reads 16,384 chunks ahead. With one more, the end waits in the parser, and nothing else arrives."""
    many = in_chunks(*[chunk(b" ")] * 16_385, END)
    async with running_ingress() as ingress, ingress.connect() as client:
        ingress.publisher.hold()
        await client.send(GOOD + many)
        await ingress.publisher.called.wait()
        for _ in range(20):
            await let_ingress_run()
        ingress.publisher.release()
        answers = [await client.answer() for _ in range(2)]
        assert [answer.status for answer in answers if answer] == [200, 401]


class Part:
    """Something to parse that never ends, and notes each turn."""

    def __init__(self, noted: list["Part"], *, is_costly: bool) -> None:
        self.is_costly = is_costly
        self._noted = noted

    def parse_next(self) -> bool:
        self._noted.append(self)
        return len(self._noted) < 1000


async def test_each_kind_has_a_part_of_every_turn() -> None:
    noted: list[Part] = []
    crowd_ = Turns()
    usual, *costly = (Part(noted, is_costly=bool(number)) for number in range(100))
    for each in (*costly, usual):
        crowd_.parse(each)
    await asyncio.sleep(0)
    assert usual in noted
    assert costly[0] in noted


async def test_a_failing_part_holds_up_no_other() -> None:
    class Failing(Part):
        def parse_next(self) -> bool:
            raise ZeroDivisionError

    noted: list[Part] = []
    crowd_ = Turns()
    asyncio.get_running_loop().set_exception_handler(lambda _, __: None)
    crowd_.parse(Failing(noted, is_costly=False))
    crowd_.parse(Part(noted, is_costly=False))
    for _ in range(3):
        await asyncio.sleep(0)
    assert noted


@pytest.mark.parametrize(("size", "at_once"), [(0, 64), (20_000, 32), (2**20, 1)])
async def test_large_bodies_have_fewer_turns(size: int, at_once: int) -> None:
    crowd_ = Turns()
    waiting = [asyncio.create_task(crowd_.wait(size)) for _ in range(100)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert sum(each.done() for each in waiting) == at_once
    for each in waiting:
        await each
