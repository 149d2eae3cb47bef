"""What requests may hold before they are verified: bytes, heads, connections, time in the event loop."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from ipaddress import ip_network
from typing import TypeVar, cast

import pytest

from hookline.ingress import connection_limits, load
from hookline.ingress.connection import IngressConnection
from tests.ingress.callbacks import BODY, GOOD, get, post, signed
from tests.ingress.chunks import END, chunk, in_chunks
from tests.ingress.freeing import freed_without_the_garbage_collector
from tests.ingress.http_client import PATIENCE_S, Answer, Client, connected, let_ingress_run
from tests.ingress.running_ingress import RunningIngress, running_ingress, with_settings
from tests.ingress.sources import KRTC

T = TypeVar("T")
MIB = 2**20
LARGE = replace(KRTC, max_body_bytes=MIB)
SMALL_LOAD = with_settings(max_bytes_in_flight=2 * MIB)
CHUNKED = in_chunks().partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
NOT_HTTP = b"zebra\r\n\r\n"


def announced(size: int, *lines: str) -> bytes:
    return post(LARGE, add=lines).replace(f"Content-Length: {len(BODY)}".encode(), b"Content-Length: %d" % size)


LARGE_HEAD = GOOD[:60] + b"".join(b"\r\nX-%d: %b" % (n, b"x" * 4000) for n in range(5))


@asynccontextmanager
async def clients(ingress: RunningIngress, requests: Sequence[bytes], host: str = "") -> AsyncIterator[list[Client]]:
    """Connections that have each sent one of these."""
    async with AsyncExitStack() as stack:
        connections = [await stack.enter_async_context(connected(ingress.port, host=host)) for _ in requests]
        for connection, request in zip(connections, requests, strict=True):
            await connection.send(request)
        await let_ingress_run()
        yield connections


@asynccontextmanager
async def first_to_end(waiting: Sequence[Coroutine[None, None, T]]) -> AsyncIterator[tuple[int, T]]:
    """Which of these ends first, and its result. Which client is read first depends on the event loop."""
    tasks = [asyncio.create_task(each) for each in waiting]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED, timeout=PATIENCE_S)
        first = done.pop()
        yield tasks.index(first), first.result()
    finally:
        for task in tasks:
            task.cancel()


async def accepts(ingress: RunningIngress) -> bool:
    answer, _ = await ingress.ask(GOOD)
    return answer is not None and answer.status == 200


def assert_overloaded(answer: Answer | None) -> None:
    assert answer is not None
    assert (answer.status, answer.code) == (503, "overloaded")
    assert answer.headers["retry-after"] == "5"
    assert answer.closes


async def test_a_body_that_finds_no_room_is_refused_by_its_announced_length() -> None:
    half = announced(MIB // 2)[:-1]
    async with (
        running_ingress({LARGE.name: LARGE}, SMALL_LOAD) as ingress,
        clients(ingress, [half, half]) as both,
        first_to_end([client.answer() for client in both]) as (_, answer),
    ):
        assert_overloaded(answer)
        assert await accepts(ingress)


async def test_a_body_in_chunks_is_refused_once_it_takes_the_last_room() -> None:
    part = CHUNKED + chunk(b"x" * (MIB * 6 // 10))
    async with (
        running_ingress({LARGE.name: LARGE}, SMALL_LOAD) as ingress,
        clients(ingress, [part, part]) as both,
        first_to_end([client.answer() for client in both]) as (_, answer),
    ):
        assert_overloaded(answer)
        assert await accepts(ingress)


async def test_stalled_bodies_give_way_to_new_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "_STALLED_S", 0.0)
    request = post(LARGE, signed(LARGE, b"x" * (MIB // 2)))
    async with (
        running_ingress({LARGE.name: LARGE}, SMALL_LOAD) as ingress,
        clients(ingress, [announced(MIB * 6 // 10)]) as [stalled],
    ):
        answer, _ = await ingress.ask(request[:1000], request[1000:])  # one that arrives at once needs less room
        assert answer is not None
        assert answer.status == 200
        assert_overloaded(await stalled.answer())


@pytest.mark.parametrize(
    "part",
    [
        pytest.param(announced(MIB // 8)[:-1], id="bodies"),
        pytest.param(announced(MIB // 8).partition(b"\r\n\r\n")[0] + b"\r\n\r\n", id="announced bodies"),
        pytest.param(LARGE_HEAD, id="heads"),
        pytest.param(CHUNKED + chunk(b"x" * (MIB // 8)), id="chunks"),
    ],
)
async def test_one_client_that_takes_all_room_keeps_no_other_out(part: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even one whose callback arrives in several segments, while nothing has stalled."""
    monkeypatch.setattr(load, "_STALLED_S", 1000.0)
    async with (
        running_ingress({LARGE.name: LARGE}, with_settings(max_bytes_in_flight=2 * MIB)) as ingress,
        clients(ingress, [part] * 60, host="127.0.0.2"),
        clients(ingress, [GOOD[:-1]] * 160, host="127.0.0.2"),  # small ones fill what large ones leave
    ):
        answer, _ = await ingress.ask(GOOD[:60], GOOD[60:-1], GOOD[-1:])
        assert answer is not None
        assert answer.status == 200


async def test_what_was_held_is_free_again_after_each_answer() -> None:
    body = b"x" * (MIB // 2)
    request = post(LARGE, signed(LARGE, body))
    chunked = CHUNKED + chunk(body) + END
    async with running_ingress({LARGE.name: LARGE}, SMALL_LOAD) as ingress, ingress.connect() as client:
        for each in (request, chunked, request, request * 3):
            await client.send(each)
        answers = [await client.answer() for _ in range(6)]
        assert [answer.status for answer in answers if answer] == [200, 401, 200, 200, 200, 200]


async def test_what_waited_on_a_lost_connection_is_free_again() -> None:
    """Clients that send two requests and are cut off during the first must not take room for good."""
    waits = post(LARGE, replace(signed(LARGE), body=b"x" * (MIB * 6 // 10)))
    async with running_ingress({LARGE.name: LARGE}, SMALL_LOAD) as ingress:
        for _ in range(10):
            ingress.publisher.hold()
            ingress.publisher.called.clear()
            async with clients(ingress, [GOOD + waits[:60_000]]):
                await ingress.publisher.called.wait()
                for connection in ingress.server.connections:
                    connection.force_close()
                await let_ingress_run()
                ingress.publisher.release()
                await let_ingress_run()
        answer, _ = await ingress.ask(waits)
        assert answer is not None
        assert answer.status == 401


async def test_envelopes_that_are_being_published_count(caplog: pytest.LogCaptureFixture) -> None:
    request = post(LARGE, signed(LARGE, b"x" * (MIB * 6 // 10)))
    async with running_ingress({LARGE.name: LARGE}, SMALL_LOAD) as ingress:
        ingress.publisher.hold()
        async with clients(ingress, [request]) as [first]:
            await ingress.publisher.called.wait()
            async with clients(ingress, [request]) as [second]:
                assert_overloaded(await second.answer())
            assert "refused: overloaded" in caplog.text
            ingress.publisher.release()
            answer = await first.answer()
            assert answer is not None
            assert answer.status == 200


@pytest.mark.parametrize("parts", [1, 7], ids=["in one piece", "in parts"])
async def test_a_head_is_refused_once_it_is_too_large_in_all(parts: int) -> None:
    head = post(KRTC, add=[f"X-{number}: {'x' * 4000}" for number in range(16)])
    step = len(head) // parts + 1
    async with running_ingress() as ingress:
        answer, closed = await ingress.ask(*(head[at : at + step] for at in range(0, len(head), step)))
        assert answer is not None
        assert (answer.status, answer.code, closed) == (431, "malformed_request", True)
        assert ingress.publisher.envelopes == []


@pytest.mark.parametrize("request_", [get("/healthz"), announced(0).removesuffix(BODY)], ids=["no body", "empty body"])
async def test_heads_in_two_parts_do_not_add_up_on_one_connection(request_: bytes) -> None:
    long = request_.replace(b"\r\n\r\n", b"\r\nX: " + b"x" * 2000 + b"\r\n\r\n")
    proxied = with_settings(max_connections_per_address=1)  # of a proxy's client, so many incomplete requests
    async with (
        running_ingress(settings=proxied, trusted_proxies=[ip_network("127.0.0.1")]) as ingress,
        ingress.connect() as client,
        ingress.connect() as other,
    ):
        for _ in range(15):
            await client.send(long[:1900])
            await let_ingress_run()
            await client.send(long[1900:])
            answer = await client.answer()
            assert answer is not None
            assert answer.status in (200, 401)
        await other.send(GOOD[:-10])
        await let_ingress_run()
        await other.send(GOOD[-10:])
        answer = await other.answer()
        assert answer is not None
        assert answer.status == 200


async def test_heads_that_never_end_share_the_bound(caplog: pytest.LogCaptureFixture) -> None:
    """62 headers of one byte cost as much as 25 kB."""
    head = post(KRTC, add=[f"x{number}:" for number in range(50)]).partition(b"\r\n\r\n")[0]
    async with running_ingress(settings=SMALL_LOAD) as ingress, clients(ingress, [head] * 60) as connections:
        assert_overloaded(await connections[-1].answer())
        assert await accepts(ingress)
    assert caplog.text.count("requests hold") == 1


async def test_a_new_connection_closes_the_oldest_that_has_sent_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_limits, "_SILENT_S", 0.0)
    async with (
        running_ingress(settings=with_settings(max_connections=3)) as ingress,
        clients(ingress, [GOOD, b"", b""]) as [used, oldest, younger],
    ):
        assert await used.answer() is not None
        assert await accepts(ingress)
        assert await oldest.is_closed()
        await younger.send(GOOD)
        assert await younger.answer() is not None
        await used.send(GOOD)
        assert await used.answer() is not None


async def test_a_connection_whose_request_is_not_read_yet_is_not_closed_for_the_next() -> None:
    """In a crowd, some turns of the event loop pass until it is read."""
    async with (
        running_ingress(settings=with_settings(max_connections_per_address=2)) as ingress,
        clients(ingress, [b""]) as [unread],
    ):
        (connection,) = ingress.server.connections
        assert connection.transport is not None
        connection.transport.pause_reading()
        await unread.send(GOOD)
        async with clients(ingress, [b""]) as [silent]:
            assert await accepts(ingress)
            assert await silent.is_closed()
        connection.transport.resume_reading()
        answer = await unread.answer()
        assert answer is not None
        assert answer.status == 200


async def test_a_connection_of_this_moment_is_not_closed_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its client may be about to send."""
    monkeypatch.setattr(connection_limits, "_SILENT_S", 10.0)
    async with (
        running_ingress(settings=with_settings(max_connections_per_address=2)) as ingress,
        clients(ingress, [GOOD[:-1], b""]) as [slow, young],
    ):
        assert await accepts(ingress)
        assert await slow.is_closed()
        await young.send(GOOD)
        answer = await young.answer()
        assert answer is not None
        assert answer.status == 200


async def test_a_refused_connection_makes_way_before_one_of_this_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has its answer, and would only wait for the rest of its body."""
    monkeypatch.setattr(connection_limits, "_SILENT_S", 10.0)
    refused = GOOD.replace(b"/hooks/", b"/nowhere/")[:-1]
    async with (
        running_ingress(settings=with_settings(max_connections_per_address=3)) as ingress,
        clients(ingress, [refused, b"", GOOD]) as [lingering, young, used],
    ):
        answer = await lingering.answer()
        assert answer is not None
        assert answer.status == 404
        assert await used.answer() is not None
        assert await accepts(ingress)
        assert await lingering.is_closed()
        for client in (young, used):
            await client.send(GOOD)
            answer = await client.answer()
            assert answer is not None
            assert answer.status == 200


async def stop_reading(client: Client, connection: IngressConnection) -> None:
    """Ask for so much and read none of it that the ingress cannot write on."""
    transport = cast("asyncio.WriteTransport", connection.transport)
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    asking = asyncio.create_task(client.send(get("/healthz") * 20_000))
    unsent, before = 0, -1
    async with asyncio.timeout(PATIENCE_S):
        while not unsent or unsent != before:
            await asyncio.sleep(0.2)
            unsent, before = transport.get_write_buffer_size(), unsent
    asking.cancel()


async def test_a_client_that_does_not_read_makes_way() -> None:
    async with (
        running_ingress(settings=with_settings(max_connections=2)) as ingress,
        connected(ingress.port, receive_buffer_bytes=2048) as unread,
    ):
        await let_ingress_run()
        (connection,) = ingress.server.connections
        assert isinstance(connection, IngressConnection)
        await stop_reading(unread, connection)
        ingress.publisher.hold()
        async with clients(ingress, [GOOD]) as [busy]:
            newcomer = asyncio.create_task(accepts(ingress))
            await asyncio.wait([newcomer], timeout=0.1)
            ingress.publisher.release()
            assert await newcomer
            assert await busy.answer() is not None
        assert connection not in ingress.server.connections


async def test_a_client_that_does_not_read_is_cut_off_although_its_connection_is_closing() -> None:
    """What is not sent yet would keep the connection open without a limit."""
    async with (
        running_ingress(settings=with_settings(write_timeout_s=2)) as ingress,
        connected(ingress.port, receive_buffer_bytes=2048) as unread,
    ):
        await let_ingress_run()
        (connection,) = ingress.server.connections
        assert isinstance(connection, IngressConnection)
        await stop_reading(unread, connection)
        connection.force_close()
        async with asyncio.timeout(PATIENCE_S):
            while ingress.server.connections:  # noqa: ASYNC110  nothing tells of it
                await asyncio.sleep(0.05)


async def test_a_client_that_pipelines_makes_way_before_one_that_waits_for_its_answer() -> None:
    async with running_ingress(settings=with_settings(max_connections=2)) as ingress:
        ingress.publisher.hold()
        async with clients(ingress, [GOOD, GOOD * 2]) as [waiting, pipelining]:
            newcomer = asyncio.create_task(accepts(ingress))
            assert await pipelining.is_closed()
            ingress.publisher.release()
            assert await newcomer
            answer = await waiting.answer()
            assert answer is not None
            assert answer.status == 200


async def test_an_idle_connection_makes_way_before_one_that_has_begun_with_a_request() -> None:
    async with (
        running_ingress(settings=with_settings(max_connections=2)) as ingress,
        clients(ingress, [GOOD, GOOD]) as [begun, idle],
    ):
        assert await begun.answer() is not None
        assert await idle.answer() is not None
        await begun.send(GOOD[:40])
        await let_ingress_run()
        assert await accepts(ingress)
        assert await idle.is_closed()
        await begun.send(GOOD[40:])
        answer = await begun.answer()
        assert answer is not None
        assert answer.status == 200


async def test_of_used_connections_the_idlest_is_closed() -> None:
    async with (
        running_ingress(settings=with_settings(max_connections=2)) as ingress,
        clients(ingress, [GOOD, GOOD]) as [first, second],
    ):
        assert await second.answer() is not None
        assert await first.answer() is not None
        await asyncio.sleep(0.01)
        await first.send(GOOD)
        assert await first.answer() is not None
        assert await accepts(ingress)
        assert await second.is_closed()
        await first.send(GOOD)
        assert await first.answer() is not None


async def test_slow_bodies_do_not_keep_genuine_callbacks_out(caplog: pytest.LogCaptureFixture) -> None:
    slow = GOOD[:-1]
    async with (
        running_ingress(settings=with_settings(max_connections=3)) as ingress,
        clients(ingress, [slow] * 3) as crowd,
    ):
        assert await accepts(ingress)
        async with first_to_end([client.is_closed() for client in crowd]) as (_, is_closed):
            assert is_closed
        assert "the limit of 3 connections is reached: idle and slow ones are closed" in caplog.text


async def test_a_connection_is_refused_only_if_all_others_are_being_answered(caplog: pytest.LogCaptureFixture) -> None:
    async with running_ingress(settings=with_settings(max_connections=2)) as ingress:
        ingress.publisher.hold()
        async with clients(ingress, [GOOD] * 2) as both, ingress.connect() as one_too_many:
            assert await one_too_many.is_closed()
            assert "all are busy" in caplog.text
            ingress.publisher.release()
            for client in both:
                answer = await client.answer()
                assert answer is not None
                assert answer.status == 200


async def test_a_crowd_at_the_limit_fills_no_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    async with running_ingress(settings=with_settings(max_connections=1)) as ingress:
        for _ in range(20):
            assert await accepts(ingress)
        async with clients(ingress, [b""] * 20):
            pass
    assert caplog.text.count("the limit of 1 connections") == 1


async def test_one_address_has_a_limit_of_its_own() -> None:
    settings = with_settings(max_connections_per_address=2)
    async with running_ingress(settings=settings) as ingress, clients(ingress, [b"", b""]) as [oldest, _]:
        assert await accepts(ingress)
        assert await oldest.is_closed()


async def test_a_trusted_proxy_has_no_limit_but_each_of_its_clients_has() -> None:
    settings = with_settings(max_connections_per_address=1)
    slow, other = (post(KRTC, add=[f"X-Forwarded-For: {address}"])[:-1] for address in ("203.0.113.7", "203.0.113.8"))
    proxies = [ip_network("127.0.0.0/8")]
    async with (
        running_ingress(settings=settings, trusted_proxies=proxies) as ingress,
        clients(ingress, [slow, other, slow]) as crowd,
    ):
        async with first_to_end([client.answer() for client in crowd]) as (refused, answer):
            assert_overloaded(answer)
            assert refused != 1
        for client in (crowd[2 - refused], crowd[1]):
            await client.send(BODY[-1:])
            answer = await client.answer()
            assert answer is not None
            assert answer.status == 200


async def test_the_files_that_a_process_may_open_are_a_limit(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with running_ingress(max_file=2**20) as ingress, clients(ingress, [b""]) as [idle]:
        monkeypatch.setattr(connection_limits, "_SPARE_FILES", 2**20)
        assert await accepts(ingress)
        assert await idle.is_closed()
    assert "open files is reached" in caplog.text


@pytest.mark.parametrize(
    ("request_", "is_answered"),
    [
        (GOOD, True),
        (GOOD[:-1], True),
        (GOOD[:-1], False),
        (NOT_HTTP, True),
        (NOT_HTTP, False),
        (GOOD + NOT_HTTP, True),
        (CHUNKED + NOT_HTTP, True),
    ],
    ids=[
        "answered",
        "incomplete",
        "broken off",
        "not HTTP",
        "not HTTP, and broken off",
        "not HTTP behind a request",
        "not chunks",
    ],
)
async def test_a_closed_connection_is_freed_without_the_garbage_collector(
    request_: bytes, *, is_answered: bool
) -> None:
    """Until the collector runs, a flood of incomplete bodies would fill the memory."""
    async with (
        running_ingress(settings=with_settings(body_timeout_s=0.05)) as ingress,
        freed_without_the_garbage_collector(),
        clients(ingress, [request_]) as [client],
    ):
        assert not is_answered or await client.answer() is not None


async def test_a_request_that_arrives_as_its_connection_is_lost_is_freed_without_the_garbage_collector() -> None:
    """Its task never begins. In a flood of forged bodies that happens to most."""
    async with running_ingress() as ingress, freed_without_the_garbage_collector(), clients(ingress, [b""]):
        await let_ingress_run()
        (connection,) = ingress.server.connections
        assert connection.transport is not None
        connection.data_received(post(KRTC, body=b"x" * 100_000))
        connection.transport.abort()
        del connection


async def test_tiny_chunks_do_not_hold_up_other_requests() -> None:
    """Each turn of the event loop parses a part of them only; a genuine callback takes a few turns."""
    flood = CHUNKED + chunk(b"xx") * 30_000
    async with running_ingress() as ingress, AsyncExitStack() as stack:
        crowd = [await stack.enter_async_context(ingress.connect()) for _ in range(20)]
        sending = [asyncio.create_task(client.send(flood)) for client in crowd]
        await let_ingress_run()
        slowest_s = 0.0
        loop = asyncio.get_running_loop()
        for _ in range(50):
            began_s = loop.time()
            await asyncio.sleep(0)
            slowest_s = max(slowest_s, loop.time() - began_s)
        assert await accepts(ingress)
        await asyncio.gather(*sending)
    assert slowest_s < 1.0  # all of it in one turn takes several seconds


@pytest.mark.parametrize("size", [3000, 100_000, 900_000])
async def test_a_large_body_in_tiny_chunks_is_whole(size: int) -> None:
    body = b"x" * size
    outgoing = signed(LARGE, body)
    head = post(LARGE, outgoing).partition(b"\r\n\r\n")[0]
    head = head.replace(b"Content-Length: %d" % size, b"Transfer-Encoding: chunked") + b"\r\n\r\n"
    chunks = b"".join(chunk(body[at : at + 7]) for at in range(0, size, 7))
    async with running_ingress({LARGE.name: LARGE}) as ingress, ingress.connect() as client:
        await client.send(head + chunks + END + GOOD)
        answers = [await client.answer() for _ in range(2)]
        assert [answer.status for answer in answers if answer] == [200, 200]
        assert [envelope.body for envelope in ingress.publisher.envelopes] == [body, BODY]
