"""A client that closes its side after its request, as `nc -N` and old HTTP clients do, gets its answer."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from hookline.schemas.errors import NotDurable
from tests.ingress.callbacks import BODY, GOOD, get, post, signed
from tests.ingress.chunks import END, WHOLE, chunk, in_chunks
from tests.ingress.http_client import Client, let_ingress_run
from tests.ingress.running_ingress import RunningIngress, running_ingress, with_settings
from tests.ingress.signature_cases import FORGED
from tests.ingress.sources import KRTC

HEALTH = get("/healthz")
LARGE = post(KRTC, signed(KRTC, BODY.ljust(100_000)))


@pytest.fixture(params=[True, False], ids=["fast lane", "usual way"])
async def ingress(request: pytest.FixtureRequest) -> AsyncIterator[RunningIngress]:
    async with running_ingress(settings=with_settings(fast_lane=request.param)) as running:
        yield running


@asynccontextmanager
async def half_closed(ingress: RunningIngress, *requests: bytes) -> AsyncIterator[Client]:
    async with ingress.connect() as client:
        await client.send(b"".join(requests))
        client.half_close()
        yield client


async def statuses(client: Client, count: int) -> Sequence[int]:
    """The statuses of the answers, after which the ingress must close the connection."""
    answers = [await client.answer() for _ in range(count)]
    assert await client.is_closed()
    return [answer.status if answer else 0 for answer in answers]


ANSWERED = {
    "a callback": ([GOOD], [200]),
    "a health check": ([HEALTH], [200]),
    "a forged callback": ([FORGED[0].request], [401]),
    "a large callback": ([LARGE], [200]),
    "a callback in chunks": ([in_chunks(WHOLE, END)], [200]),
    "a callback in many chunks": ([in_chunks(*(chunk(bytes([byte])) for byte in BODY), b"0\r\n\r\n")], [200]),
    "more chunks than are read ahead": ([GOOD, in_chunks(*[chunk(b" ")] * 16_500, END)], [200, 401]),
    "two callbacks": ([GOOD, GOOD], [200, 200]),
    "many callbacks": ([GOOD] * 50, [200] * 50),
    "a large one and others": ([LARGE, GOOD, HEALTH, LARGE], [200] * 4),
    "no HTTP": ([b"\x00"], [400]),
    "an incomplete body": ([GOOD[:-1]], [400]),
    "an incomplete body behind a callback": ([GOOD, GOOD[:-1]], [200, 400]),
    "an incomplete head behind a callback": ([GOOD, GOOD[:30]], [200]),
    "an incomplete head": ([GOOD[:30]], []),
    "nothing": ([], []),
}


@pytest.mark.parametrize(("requests", "expected"), ANSWERED.values(), ids=ANSWERED)
async def test_what_is_complete_is_answered_and_the_connection_closed(
    ingress: RunningIngress, requests: list[bytes], expected: list[int]
) -> None:
    async with half_closed(ingress, *requests) as client:
        assert await statuses(client, len(expected)) == expected
    assert len(ingress.publisher.envelopes) == sum(GOOD[:20] == each[:20] for each in requests[: expected.count(200)])


@pytest.mark.parametrize("turns", range(8), ids="{} turns later".format)
async def test_a_client_may_close_its_side_at_any_time(ingress: RunningIngress, turns: int) -> None:
    async with ingress.connect() as client:
        await client.send(GOOD)
        for _ in range(turns):
            await asyncio.sleep(0)
        client.half_close()
        assert await statuses(client, 1) == [200]


@pytest.mark.parametrize("requests", [[GOOD], [GOOD, GOOD]], ids=["one", "two"])
async def test_an_answer_that_takes_its_time_reaches_the_client(ingress: RunningIngress, requests: list[bytes]) -> None:
    ingress.publisher.hold()
    async with half_closed(ingress, *requests) as client:
        await ingress.publisher.called.wait()
        await let_ingress_run()
        ingress.publisher.release()
        assert await statuses(client, len(requests)) == [200] * len(requests)


async def test_a_client_whose_event_could_not_be_stored_hears_of_it(ingress: RunningIngress) -> None:
    ingress.publisher.fault = NotDurable("no")
    async with half_closed(ingress, GOOD) as client:
        assert await statuses(client, 1) == [503]


async def test_a_kept_connection_is_closed_with_the_client_s_side(ingress: RunningIngress) -> None:
    async with ingress.connect() as client:
        await client.send(GOOD)
        assert await client.answer() is not None
        client.half_close()
        assert await client.is_closed()


async def test_nothing_is_left_of_it(ingress: RunningIngress) -> None:
    before = len(asyncio.all_tasks())
    for requests, expected in ANSWERED.values():
        async with half_closed(ingress, *requests) as client:
            await statuses(client, len(expected))
    async with asyncio.timeout(10):
        while ingress.server.connections or len(asyncio.all_tasks()) > before:  # noqa: ASYNC110  no signal
            await asyncio.sleep(0.01)
