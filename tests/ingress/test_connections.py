"""Connections that are slow, idle, crowded, shared or cut."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest
import uvloop

from hookline.ingress.receive import Receiver
from hookline.ingress.server import ConnectionFactory
from tests.ingress.house import BODY_LIMITED, KRTC, SETTINGS, Recorder, opened, post, signed, with_settings
from tests.ingress.rows import BODY, END, GOOD, LENGTH, changed, chunk, in_chunks, with_header, with_line
from tests.ingress.wire import connected, turns

HEAD = GOOD.removesuffix(BODY)
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: ingress.example\r\n\r\n"
SHORT_S = 0.05
HEAD_LIMITED = with_settings(head_timeout_s=0.4)


async def test_a_connection_that_says_nothing_is_closed() -> None:
    async with opened(settings=HEAD_LIMITED) as house, house.connect() as client:
        assert await client.is_closed()


@pytest.mark.parametrize("before", [b"", GOOD], ids=["first request", "later request"])
async def test_a_head_that_trickles_in_is_cut_off_in_time(before: bytes) -> None:
    async with opened(settings=HEAD_LIMITED) as house, house.connect() as client:
        if before:
            await client.send(before)
            assert await client.answer() is not None
        trickle = iter(GOOD)
        while not await client.closed_within(SHORT_S):
            await client.send(bytes([next(trickle)]))


async def test_a_body_that_trickles_in_is_cut_off_in_time() -> None:
    async with opened(settings=BODY_LIMITED) as house, house.connect() as client:
        answer = asyncio.create_task(client.answer())
        await client.send(HEAD)
        trickle = iter(BODY)
        while not (await asyncio.wait([answer], timeout=SHORT_S))[0]:
            await client.send(bytes([next(trickle)]))
        got = await answer
        assert got is not None
        assert (got.status, got.code) == (408, "slow_request")
        assert house.publisher.envelopes == []


@pytest.mark.parametrize("pause", range(8))
async def test_an_idle_connection_outlives_the_time_for_a_head(pause: int) -> None:
    """However many turns of the event loop lie between head and body."""
    async with opened(settings=with_settings(head_timeout_s=0.1)) as house, house.connect() as client:
        await client.send(HEAD)
        for _ in range(pause):
            await asyncio.sleep(0)
        await client.send(BODY)
        assert await client.answer() is not None
        assert not await client.closed_within(0.2)


async def test_an_idle_connection_serves_again() -> None:
    async with opened(settings=with_settings(head_timeout_s=0.1)) as house, house.connect() as client:
        await client.send(GOOD)
        await client.answer()
        house.publisher.kept.clear()
        with pytest.raises(TimeoutError):  # nothing happens for longer than a head may take
            await asyncio.wait_for(house.publisher.kept.wait(), 0.2)
        await client.send(GOOD)
        answer = await client.answer()
        assert answer is not None
        assert answer.status == 200


async def test_an_idle_connection_is_closed_after_the_keep_alive_time() -> None:
    async with opened(settings=with_settings(keepalive_timeout_s=0.1)) as house, house.connect() as client:
        await client.send(GOOD)
        await client.answer()
        assert await client.is_closed()


async def test_pipelined_callbacks_are_answered_in_order() -> None:
    async with opened() as house, house.connect() as client:
        other = post(KRTC, signed(KRTC, b"not json"))
        await client.send(GOOD + HEALTH + other)
        answers = [await client.answer() for _ in range(3)]
        assert [answer.body for answer in answers if answer] == [b"{}", b'{"status":"ok"}', b"{}"]
        assert [envelope.body for envelope in house.publisher.envelopes] == [BODY, b"not json"]


async def test_a_request_hidden_behind_an_empty_body_is_judged_alone() -> None:
    async with opened() as house, house.connect() as client:
        await client.send(changed(LENGTH, b"Content-Length: 0").removesuffix(BODY) + with_line(b"GET /admin HTTP/1.1"))
        answers = [await client.answer() for _ in range(2)]
        assert [answer.status for answer in answers if answer] == [401, 404]
        assert house.publisher.envelopes == []


@pytest.mark.parametrize("protocol", [b"websocket", b"h2c", b"TLS/1.0", b"zebra"])
async def test_no_other_protocol_is_switched_to(protocol: bytes) -> None:
    """The callback is taken, and what follows it is nothing."""
    upgrade = with_header(b"Connection: Upgrade", b"Upgrade: " + protocol)
    async with opened() as house, house.connect() as client:
        await client.send(upgrade + HEALTH)
        first = await client.answer()
        assert first is not None
        assert first.status == 200
        assert await client.is_closed()
        assert len(house.publisher.envelopes) == 1


async def test_a_half_closed_body_is_never_published() -> None:
    async with opened() as house, house.connect() as client:
        await client.send(GOOD[:-1])
        await turns()
        client.half_close()
        await client.answer()
        assert await client.is_closed()
        assert house.publisher.envelopes == []


async def test_half_closed_chunks_are_never_published() -> None:
    async with opened() as house, house.connect() as client:
        await client.send(in_chunks(chunk(BODY)))
        await turns()
        client.half_close()
        await client.answer()
        assert await client.is_closed()
        assert house.publisher.envelopes == []


async def test_a_body_is_asked_for_once_its_head_is_good() -> None:
    async with opened() as house, house.connect() as client:
        await client.send(with_header(b"Expect: 100-Continue").removesuffix(BODY))
        invitation = await client.answer()
        assert invitation is not None
        assert invitation.raw == b"HTTP/1.1 100 Continue\r\n\r\n"
        await client.send(BODY)
        answer = await client.answer()
        assert answer is not None
        assert answer.status == 200


@pytest.mark.parametrize(
    ("old", "new", "status"),
    [
        (b"/hooks/krtc-main", b"/hooks/zebra", 404),
        (LENGTH, b"Content-Length: 99999999", 413),
        (LENGTH, LENGTH + b"\r\nContent-Encoding: gzip", 415),
        (b"application/json", b"application/zebra", 415),
        (b"POST", b"PUT", 405),
        (b"HTTP/1.1", b"HTTP/2.0", 400),
    ],
)
async def test_a_body_is_not_asked_for_if_its_head_is_bad(old: bytes, new: bytes, status: int) -> None:
    async with opened() as house:
        answer, closed = await house.ask(with_header(b"Expect: 100-continue").removesuffix(BODY).replace(old, new))
        assert answer is not None
        assert answer.status == status
        assert closed


async def test_http_1_0_knows_no_expectations() -> None:
    async with opened() as house:
        answer, _ = await house.ask(with_header(b"Expect: 100-continue").replace(b"HTTP/1.1", b"HTTP/1.0"))
        assert answer is not None
        assert answer.status == 200


async def test_connections_above_the_limit_are_closed_and_the_others_served() -> None:
    async with opened(settings=with_settings(max_connections=3, head_timeout_s=30)) as house, AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(house.connect()) for _ in range(3)]
        async with house.connect() as one_too_many:
            assert await one_too_many.is_closed()
        for client in clients:
            await client.send(GOOD)
            assert await client.answer() is not None
        clients[0].close()
        await turns()
        answer, _ = await house.ask(GOOD)
        assert answer is not None


async def test_a_client_that_never_reads_is_cut_off() -> None:
    async with (
        opened(settings=with_settings(write_timeout_s=0.1)) as house,
        connected(house.port, receive_buffer_bytes=4096) as client,
    ):
        async with asyncio.timeout(20):
            while not client.cut_off:
                await client.send(HEALTH * 100)
        answer, _ = await house.ask(GOOD)
        assert answer is not None


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_every_unread_byte_is_timed(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """A buffer without room pauses the writing at once, and pausing starts the time-out; on either event loop."""

    async def limits() -> tuple[int, int]:
        ingresses = ConnectionFactory(Receiver({}, Recorder(), SETTINGS), SETTINGS)
        server = await asyncio.get_running_loop().create_server(ingresses, "127.0.0.1", 0)
        async with server, connected(server.sockets[0].getsockname()[1]) as client:
            await client.send(HEALTH)
            await client.answer()
            (ingress,) = ingresses.connections
            assert ingress.transport is not None
            return ingress.transport.get_write_buffer_limits()

    with asyncio.Runner(loop_factory=new_loop) as runner:
        assert runner.run(limits()) == (0, 0)


async def test_the_event_is_kept_though_the_sender_has_gone() -> None:
    async with opened() as house:
        house.publisher.hold()
        async with house.connect() as client:
            await client.send(GOOD)
            await house.publisher.called.wait()
            client.close()
        await turns()
        house.publisher.release()
        await house.publisher.kept.wait()
        assert [envelope.body for envelope in house.publisher.envelopes] == [BODY]


async def test_a_body_with_its_end_in_another_segment_is_whole() -> None:
    async with opened() as house:
        answer, _ = await house.ask(in_chunks(), chunk(BODY[:9]), chunk(BODY[9:]), END)
        assert answer is not None
        assert answer.status == 200
        assert house.publisher.envelopes[0].body == BODY


@pytest.mark.parametrize("chunks", [16_384, 16_385, 20_000])
async def test_a_callback_after_a_body_that_paused_the_reading_is_taken(chunks: int) -> None:
    """aiohttp reads 16,384 chunks ahead. With one more, the parser is still paused when the next callback comes."""
    many = in_chunks(*(chunk(b" ") for _ in range(chunks)), END)
    async with opened() as house, house.connect() as client:
        house.publisher.hold()
        await client.send(GOOD + many)
        await house.publisher.called.wait()
        for _ in range(20):
            await turns()
        await client.send(GOOD)
        await turns()
        house.publisher.release()
        answers = [await client.answer() for _ in range(3)]
        assert [answer.status for answer in answers if answer] == [200, 401, 200]


async def test_a_body_larger_than_what_is_read_ahead_is_whole() -> None:
    large = replace(KRTC, max_body_bytes=2**22)
    body = b"z" * (2**22 - 1)
    settings = with_settings(body_timeout_s=30)
    async with opened({large.name: large}, settings) as house, house.connect() as client:
        await client.send(post(large, signed(large, body)) + post(large))
        answers = [await client.answer() for _ in range(2)]
        assert [answer.status for answer in answers if answer] == [200, 200]
        assert [envelope.body for envelope in house.publisher.envelopes] == [body, BODY]
