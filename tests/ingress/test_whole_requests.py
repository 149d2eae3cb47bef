"""What is parsed at once is what aiohttp's own parser makes of the same bytes, and never a part of something else."""

import asyncio
from typing import Any
from unittest.mock import Mock

import pytest
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import HttpRequestParser, RawRequestMessage
from aiohttp.streams import StreamReader
from hypothesis import given, settings
from hypothesis import strategies as st

from hookline.ingress.connection import IngressConnection
from hookline.ingress.fast_lane import FastLane, WholeRequests
from hookline.ingress.parser_errors import MAX_FIELD_BYTES, MAX_HEADERS, MAX_LINE_BYTES
from hookline.ingress.turns import Turns
from tests.ingress.callbacks import BODY, GOOD, LENGTH, changed, post, signed, with_header
from tests.ingress.http_client import Client, let_ingress_run
from tests.ingress.running_ingress import RunningIngress, running_ingress
from tests.ingress.sources import KRTC
from tests.ingress.test_fast_lane import FLAWED, GENUINE, LAST, ORDINARY, TWICE_FRAMED, compare
from tests.test_ingress_hypothesis import EDITS, Edit

PARTIAL_HEAD = b"POST /hooks/krtc-main HTTP/1.1\r\nHost: ingress.example\r\nX-Part: "
NEXT = b"GET /healthz HTTP/1.1\r\nHost: ingress.example\r\n\r\n"
NOT_WHOLE = [
    GOOD[:-1],
    GOOD + b"\r\n",
    GOOD + GOOD,
    GOOD + PARTIAL_HEAD,
    b"\r\n\r\n" + GOOD,
    GOOD.removesuffix(BODY),
    PARTIAL_HEAD,
    BODY,
    b"",
    changed(LENGTH, b"Content-Length: 0"),
    changed(LENGTH, b"Content-Length: %d" % (len(BODY) + 1)),
    changed(LENGTH, b"Content-Length: %d" % (len(BODY) - 1)),
    with_header(b"Upgrade: websocket", b"Connection: upgrade"),
]
READ_BYTES = 256_000  # of uvloop
LARGE = post(KRTC, signed(KRTC, BODY.ljust(KRTC.max_body_bytes)))
USUAL = [request for request in (*ORDINARY, *LAST.values()) if b"Content-Length: 000" not in request]


def in_aiohttps_way(data: bytes) -> tuple[RawRequestMessage, bytes] | None:
    """The only request in these bytes, if its body ends where they do, by aiohttp's own parser."""
    loop = asyncio.new_event_loop()
    try:
        parser = HttpRequestParser(
            Mock(),
            loop,
            2**16,
            max_line_size=MAX_LINE_BYTES,
            max_field_size=MAX_FIELD_BYTES,
            max_headers=MAX_HEADERS,
            payload_exception=web.RequestPayloadError,
            auto_decompress=False,
        )
        messages, upgraded, _ = parser.feed_data(data)
        if not (messages and messages[0][0].should_close):  # then no other follows
            following, _, _ = parser.feed_data(NEXT)
            if len(following) != 1 or following[0][0].path != "/healthz":
                return None
    except HttpProcessingError:
        return None
    finally:
        loop.close()
    if len(messages) != 1 or upgraded:
        return None
    head, body = messages[0]
    assert isinstance(body, StreamReader)
    return (head, body.read_nowait()) if body.is_eof() else None


def check(requests: WholeRequests, data: bytes) -> None:
    found = requests.parse(data)
    if found is not None:
        assert repr(found) == repr(in_aiohttps_way(data))


@pytest.mark.parametrize("request_bytes", USUAL, ids=range(len(USUAL)))
def test_an_ordinary_request_is_parsed_as_by_aiohttp(request_bytes: bytes) -> None:
    found = WholeRequests().parse(request_bytes)
    assert found is not None
    assert repr(found) == repr(in_aiohttps_way(request_bytes))


@pytest.mark.parametrize("data", NOT_WHOLE, ids=range(len(NOT_WHOLE)))
def test_what_is_not_one_request_is_left_to_aiohttps_parser(data: bytes) -> None:
    assert WholeRequests().parse(data) is None


def test_what_is_parsed_is_the_same_by_aiohttp_whatever_came_before() -> None:
    requests = WholeRequests()
    for data in (b"\r\n" + GOOD, b"\n" + GOOD, *GENUINE, *FLAWED, *TWICE_FRAMED, *NOT_WHOLE):
        check(requests, data)
        assert requests.parse(GOOD) is not None


@given(st.lists(EDITS, min_size=1, max_size=3))
@settings(max_examples=400, deadline=None, derandomize=True, database=None)
def test_a_changed_request_is_parsed_as_by_aiohttp_or_not_at_all(edits: list[Edit]) -> None:
    data = GOOD
    for edit in edits:
        data = edit.of(data)
    requests = WholeRequests()
    check(requests, data)
    assert requests.parse(GOOD) is not None


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The bytes that the fast lane is asked to parse."""
    asked: list[bytes] = []
    make = FastLane.__init__

    def noting(self: FastLane, *arguments: Any) -> None:
        make(self, *arguments)
        parse = self.parse

        def note(data: bytes) -> tuple[RawRequestMessage, bytes] | None:
            asked.append(data)
            return parse(data)

        self.parse = note

    monkeypatch.setattr(FastLane, "__init__", noting)
    return asked


async def test_every_request_of_a_connection_is_parsed_at_once(parsed: list[bytes]) -> None:
    async with running_ingress() as ingress, ingress.connect() as client:
        for _ in range(3):
            await client.send(GOOD)
            answer = await client.answer()
            assert answer is not None
            assert answer.status == 200
    assert parsed == [GOOD, GOOD, GOOD]


@pytest.mark.parametrize("first", [PARTIAL_HEAD, GOOD + PARTIAL_HEAD], ids=["alone", "behind a request"])
async def test_what_follows_a_part_of_a_head_is_not_taken_for_a_request(parsed: list[bytes], first: bytes) -> None:
    async with running_ingress() as ingress, ingress.connect() as client:
        await client.send(GOOD)
        assert await client.answer() is not None
        parsed.clear()
        await client.send(first)
        for _ in range(first.startswith(GOOD)):
            assert await client.answer() is not None
        await let_ingress_run()
        kept = len(ingress.publisher.envelopes)
        await client.send(GOOD)  # its first line is a header's value, and the second Host is an error
        answer = await client.answer()
        assert answer is not None
        assert answer.status == 400
        assert len(ingress.publisher.envelopes) == kept
    assert GOOD not in parsed


async def test_what_follows_a_part_of_a_body_is_not_taken_for_a_request(parsed: list[bytes]) -> None:
    async with running_ingress() as ingress, ingress.connect() as client:
        await client.send(GOOD)
        assert await client.answer() is not None
        parsed.clear()
        await client.send(changed(LENGTH, b"Content-Length: %d" % (len(BODY) + len(GOOD))))
        await let_ingress_run()
        await client.send(GOOD)
        answer = await client.answer()
        assert answer is not None
        assert answer.status == 401
    assert GOOD not in parsed


async def test_what_stands_between_two_requests_in_a_segment_of_its_own_is_answered_as_on_the_usual_way() -> None:
    turn = asyncio.Semaphore(32)

    async def compare_between(data: bytes) -> None:
        async with turn:
            await compare(GOOD + data + GOOD, [len(GOOD), len(GOOD + data)])

    await asyncio.gather(*map(compare_between, filter(None, (*GENUINE, *FLAWED, *TWICE_FRAMED, *NOT_WHOLE))))


async def after_a_request(ingress: RunningIngress, client: Client) -> IngressConnection:
    """The only connection of an ingress, once a request of its client has been answered."""
    await client.send(GOOD)
    assert await client.answer() is not None
    [connection] = ingress.server.connections
    assert isinstance(connection, IngressConnection)
    return connection


@pytest.mark.parametrize("reads", [[LARGE], [LARGE[:READ_BYTES], LARGE[READ_BYTES:]]], ids=["one read", "two reads"])
async def test_a_large_request_that_arrives_in_one_turn_is_parsed_at_once(
    parsed: list[bytes], reads: list[bytes]
) -> None:
    async with running_ingress() as ingress, ingress.connect() as client:
        for _ in range(3):
            connection = await after_a_request(ingress, client)
            for read in reads:
                connection.data_received(read)
            answer = await client.answer()
            assert answer is not None
            assert answer.status == 200
    assert parsed == [GOOD, LARGE] * 3
    assert [len(envelope.body) for envelope in ingress.publisher.envelopes] == [len(BODY), KRTC.max_body_bytes] * 3


@pytest.mark.parametrize("first_bytes", [READ_BYTES, READ_BYTES - 1, 2049, 2048])
async def test_the_rest_of_a_large_request_may_come_later(first_bytes: int) -> None:
    async with running_ingress() as ingress, ingress.connect() as client:
        connection = await after_a_request(ingress, client)
        connection.data_received(LARGE[:first_bytes])
        await let_ingress_run()
        assert connection.has_rest
        connection.data_received(LARGE[first_bytes:])
        answer = await client.answer()
        assert answer is not None
        assert answer.status == 200
        assert connection.load.held_bytes == 0
    assert [envelope.body for envelope in ingress.publisher.envelopes] == [BODY, LARGE[-KRTC.max_body_bytes :]]


async def test_a_connection_is_read_no_further_than_a_second_time_while_its_first_read_waits() -> None:
    async with running_ingress() as ingress, ingress.connect() as client:
        connection = await after_a_request(ingress, client)
        connection.data_received(LARGE[:READ_BYTES])
        assert not connection._reading_paused  # noqa: SLF001
        connection.data_received(LARGE[:READ_BYTES])
        assert connection.transport is not None
        assert not connection.transport.is_reading()


async def test_a_large_request_that_the_lane_does_not_take_waits_for_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    wait = Turns.wait

    async def noting(self: Turns, size: int = 0) -> None:
        sizes.append(size)
        await wait(self, size)

    monkeypatch.setattr(Turns, "wait", noting)
    request = post(KRTC, signed(KRTC, BODY.ljust(100_000)), add=["Expect: 100-continue"])
    async with running_ingress() as ingress, ingress.connect() as client:
        for expected in ([100_000], [100_000, 100_000]):
            await client.send(GOOD)
            assert await client.answer() is not None
            [connection] = ingress.server.connections
            connection.data_received(request)
            answer = await client.answer()
            assert answer is not None
            assert answer.status == 200
            assert sizes == expected
