"""Connections that are slow, idle, too many, pipelined or cut."""

import asyncio
import socket
from collections.abc import Callable
from dataclasses import replace

import pytest
import uvloop

from hookline.ingress.receive import Receiver
from hookline.ingress.server import ConnectionFactory
from tests.ingress.callbacks import BODY, GOOD, LENGTH, changed, post, signed, with_header, with_line
from tests.ingress.chunks import END, chunk, in_chunks
from tests.ingress.http_client import connected, let_ingress_run
from tests.ingress.running_ingress import IMPATIENT, SETTINGS, RecordingPublisher, running_ingress, with_settings
from tests.ingress.sources import KRTC

HEAD = GOOD.removesuffix(BODY)
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: ingress.example\r\n\r\n"
SHORT_S = 0.05


async def test_a_connection_that_sends_nothing_is_closed() -> None:
    async with running_ingress(settings=IMPATIENT) as ingress, ingress.connect() as client:
        assert await client.is_closed()


@pytest.mark.parametrize("before", [b"", GOOD], ids=["first request", "later request"])
async def test_a_head_that_trickles_in_is_cut_off_in_time(before: bytes) -> None:
    async with running_ingress(settings=IMPATIENT) as ingress, ingress.connect() as client:
        if before:
            await client.send(before)
            assert await client.answer() is not None
        trickle = iter(GOOD)
        while not await client.closed_within(SHORT_S):
            await client.send(bytes([next(trickle)]))


async def test_a_body_that_trickles_in_is_cut_off_in_time() -> None:
    async with running_ingress(settings=IMPATIENT) as ingress, ingress.connect() as client:
        answer = asyncio.create_task(client.answer())
        await client.send(HEAD)
        trickle = iter(BODY)
        while not (await asyncio.wait([answer], timeout=SHORT_S))[0]:
            await client.send(bytes([next(trickle)]))
        got = await answer
        assert got is not None
        assert (got.status, got.code) == (408, "slow_request")
        assert ingress.publisher.envelopes == []


@pytest.mark.parametrize("pause", range(8), ids="{} iterations".format)
async def test_an_idle_connection_outlives_the_time_for_a_head(pause: int) -> None:
    """However many iterations of the event loop lie between head and body."""
    async with running_ingress(settings=with_settings(head_timeout_s=0.1)) as ingress, ingress.connect() as client:
        await client.send(HEAD)
        for _ in range(pause):
            await asyncio.sleep(0)
        await client.send(BODY)
        assert await client.answer() is not None
        assert not await client.closed_within(0.2)


async def test_an_idle_connection_serves_again() -> None:
    async with running_ingress(settings=with_settings(head_timeout_s=0.1)) as ingress, ingress.connect() as client:
        await client.send(GOOD)
        await client.answer()
        ingress.publisher.kept.clear()
        with pytest.raises(TimeoutError):  # the connection is idle for longer than a head may take
            await asyncio.wait_for(ingress.publisher.kept.wait(), 0.2)
        await client.send(GOOD)
        answer = await client.answer()
        assert answer is not None
        assert answer.status == 200


async def test_an_idle_connection_is_closed_after_the_keep_alive_time() -> None:
    async with running_ingress(settings=with_settings(keepalive_timeout_s=0.1)) as ingress, ingress.connect() as client:
        await client.send(GOOD)
        await client.answer()
        assert await client.is_closed()


async def test_pipelined_callbacks_are_answered_in_order() -> None:
    async with running_ingress() as ingress, ingress.connect() as client:
        other = post(KRTC, signed(KRTC, b"not json"))
        await client.send(GOOD + HEALTH + other)
        answers = [await client.answer() for _ in range(3)]
        assert [answer.body for answer in answers if answer] == [b"{}", b'{"status":"ok"}', b"{}"]
        assert [envelope.body for envelope in ingress.publisher.envelopes] == [BODY, b"not json"]


@pytest.mark.parametrize("lane", [True, False], ids=["fast lane", "usual way"])
@pytest.mark.parametrize("size", range(-1, 5), ids="{} bytes of the empty line".format)
async def test_a_callback_behind_another_is_answered_wherever_the_first_head_is_split(size: int, *, lane: bool) -> None:
    first = len(HEAD) - 4 + size
    async with running_ingress(settings=with_settings(fast_lane=lane)) as ingress, ingress.connect() as client:
        await client.send(GOOD[:first])
        await let_ingress_run()
        await client.send(GOOD[first:] + GOOD)
        answers = [await client.answer() for _ in range(2)]
        assert [answer.status for answer in answers if answer] == [200, 200]


async def test_a_request_hidden_behind_an_empty_body_is_a_request_of_its_own() -> None:
    async with running_ingress() as ingress, ingress.connect() as client:
        await client.send(changed(LENGTH, b"Content-Length: 0").removesuffix(BODY) + with_line(b"GET /admin HTTP/1.1"))
        answers = [await client.answer() for _ in range(2)]
        assert [answer.status for answer in answers if answer] == [401, 404]
        assert ingress.publisher.envelopes == []


@pytest.mark.parametrize("protocol", [b"websocket", b"h2c", b"TLS/1.0", b"zebra"])
async def test_the_ingress_switches_to_no_other_protocol(protocol: bytes) -> None:
    """The callback is accepted, and what follows it is ignored."""
    upgrade = with_header(b"Connection: Upgrade", b"Upgrade: " + protocol)
    async with running_ingress() as ingress, ingress.connect() as client:
        await client.send(upgrade + HEALTH)
        first = await client.answer()
        assert first is not None
        assert first.status == 200
        assert await client.is_closed()
        assert len(ingress.publisher.envelopes) == 1


@pytest.mark.parametrize(
    "incomplete",
    [pytest.param(GOOD[:-1], id="last byte missing"), pytest.param(in_chunks(chunk(BODY)), id="last chunk missing")],
)
async def test_a_half_closed_body_is_never_published(incomplete: bytes) -> None:
    async with running_ingress() as ingress, ingress.connect() as client:
        await client.send(incomplete)
        await let_ingress_run()
        client.half_close()
        await client.answer()
        assert await client.is_closed()
        assert ingress.publisher.envelopes == []


async def test_100_continue_is_sent_once_the_head_is_good() -> None:
    async with running_ingress() as ingress, ingress.connect() as client:
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
    ids=["unknown source", "too large", "compressed", "not JSON", "another method", "another version"],
)
async def test_100_continue_is_not_sent_if_the_head_is_bad(old: bytes, new: bytes, status: int) -> None:
    async with running_ingress() as ingress:
        answer, closed = await ingress.ask(with_header(b"Expect: 100-continue").removesuffix(BODY).replace(old, new))
        assert answer is not None
        assert answer.status == status
        assert closed


async def test_an_expectation_in_http_1_0_is_ignored() -> None:
    async with running_ingress() as ingress:
        answer, _ = await ingress.ask(with_header(b"Expect: 100-continue").replace(b"HTTP/1.1", b"HTTP/1.0"))
        assert answer is not None
        assert answer.status == 200


async def test_a_client_that_never_reads_is_cut_off() -> None:
    async with (
        running_ingress(settings=with_settings(write_timeout_s=0.1)) as ingress,
        connected(ingress.port, receive_buffer_bytes=4096) as client,
    ):
        await client.send(HEALTH)
        assert await client.answer() is not None
        (connection,) = ingress.server.connections
        assert connection.transport is not None
        connection.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        async with asyncio.timeout(120):  # answers fill the buffers of both sides
            while not client.cut_off:
                await client.send(HEALTH * 100)
        answer, _ = await ingress.ask(GOOD)
        assert answer is not None


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_every_unread_byte_is_timed(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """A buffer without room pauses the writing at once, and pausing starts the time-out; on either event loop."""

    async def limits() -> tuple[int, int]:
        factory = ConnectionFactory(Receiver({}, RecordingPublisher(), SETTINGS), SETTINGS)
        server = await asyncio.get_running_loop().create_server(factory, "127.0.0.1", 0)
        async with server, connected(server.sockets[0].getsockname()[1]) as client:
            await client.send(HEALTH)
            await client.answer()
            (connection,) = factory.connections
            assert connection.transport is not None
            return connection.transport.get_write_buffer_limits()

    with asyncio.Runner(loop_factory=new_loop) as runner:
        assert runner.run(limits()) == (0, 0)


async def test_the_event_is_kept_though_the_sender_has_disconnected() -> None:
    async with running_ingress() as ingress:
        ingress.publisher.hold()
        async with ingress.connect() as client:
            await client.send(GOOD)
            await ingress.publisher.called.wait()
            client.close()
        await let_ingress_run()
        ingress.publisher.release()
        await ingress.publisher.kept.wait()
        assert [envelope.body for envelope in ingress.publisher.envelopes] == [BODY]


async def test_a_body_with_its_end_in_another_segment_is_whole() -> None:
    async with running_ingress() as ingress:
        answer, _ = await ingress.ask(in_chunks(), chunk(BODY[:9]), chunk(BODY[9:]), END)
        assert answer is not None
        assert answer.status == 200
        assert ingress.publisher.envelopes[0].body == BODY


@pytest.mark.parametrize("chunks", [16_384, 16_385, 20_000], ids="{} chunks".format)
async def test_a_callback_after_a_body_that_paused_the_reading_is_accepted(chunks: int) -> None:
    """aiohttp reads 16,384 chunks ahead. With one more, the parser is still paused when the next callback comes."""
    many = in_chunks(*(chunk(b" ") for _ in range(chunks)), END)
    async with running_ingress() as ingress, ingress.connect() as client:
        ingress.publisher.hold()
        await client.send(GOOD + many)
        await ingress.publisher.called.wait()
        for _ in range(20):
            await let_ingress_run()
        await client.send(GOOD)
        await let_ingress_run()
        ingress.publisher.release()
        answers = [await client.answer() for _ in range(3)]
        assert [answer.status for answer in answers if answer] == [200, 401, 200]


async def test_a_body_larger_than_what_is_read_ahead_is_whole() -> None:
    large = replace(KRTC, max_body_bytes=2**22)
    body = b"z" * (2**22 - 1)
    settings = with_settings(body_timeout_s=30)
    async with running_ingress({large.name: large}, settings) as ingress, ingress.connect() as client:
        await client.send(post(large, signed(large, body)) + post(large))
        answers = [await client.answer() for _ in range(2)]
        assert [answer.status for answer in answers if answer] == [200, 200]
        assert [envelope.body for envelope in ingress.publisher.envelopes] == [body, BODY]
