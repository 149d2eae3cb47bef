"""Faults of ours, floods of forgeries, health checks, and how the ingress shuts down."""

import asyncio
from collections.abc import Iterator

import msgspec
import pytest

from hookline.ingress import responses
from hookline.schemas import errors
from hookline.schemas.errors import NotDurable, Refused
from tests.ingress.callbacks import BODY, GOOD, LENGTH, changed, get, post, signed
from tests.ingress.http_client import Answer, let_ingress_run
from tests.ingress.running_ingress import RunningIngress, running_ingress, with_settings
from tests.ingress.signature_cases import FORGERY
from tests.ingress.sources import KRTC, VOICE


async def answer_to(ingress: RunningIngress, request: bytes) -> Answer:
    answer, _ = await ingress.ask(request)
    assert answer is not None
    return answer


def leaves(kind: type[Refused]) -> Iterator[type[Refused]]:
    below = kind.__subclasses__()
    for each in below:
        yield from leaves(each)
    if not below:
        yield kind


def test_every_refusal_has_its_status() -> None:
    assert set(leaves(Refused)) == set(responses.STATUS)


def test_no_refusal_is_a_success_or_a_500() -> None:
    assert all(400 <= status < 500 or status == 503 for status in responses.STATUS.values())


@pytest.mark.parametrize("kind", responses.STATUS, ids=lambda kind: kind.reason)
def test_a_refusal_carries_its_code_and_the_headers_that_help(kind: type[Refused]) -> None:
    response = responses.refused(kind("why"))
    assert response.status == responses.STATUS[kind]
    assert isinstance(response.body, bytes)
    message = "the signature is wrong" if kind is errors.RefusedAddress else "why"
    assert msgspec.json.decode(response.body) == {"error": {"code": kind.reason, "message": message}}
    assert ("Retry-After" in response.headers) == (response.status in (429, 503))
    assert ("Allow" in response.headers) == (response.status == 405)


def test_no_two_refusals_share_a_reason() -> None:
    reasons = [kind.noted_as or kind.reason for kind in leaves(Refused)]
    assert len(set(reasons)) == len(reasons)


@pytest.mark.parametrize(
    "fault",
    [
        NotDurable("the broker is away"),
        RuntimeError("zebra"),
        TimeoutError("zebra"),
        ConnectionError("zebra"),
        OSError("zebra"),
        KeyError("zebra"),
        asyncio.CancelledError("zebra"),
        errors.Unreachable("zebra"),
    ],
    ids=lambda fault: type(fault).__name__,
)
async def test_a_publisher_that_fails_is_answered_503_whatever_it_raises(fault: BaseException) -> None:
    async with running_ingress() as ingress:
        ingress.publisher.fault = fault
        answer = await answer_to(ingress, GOOD)
        assert (answer.status, answer.code) == (503, "not_durable")
        assert int(answer.headers["retry-after"]) > 0
        assert b"zebra" not in answer.raw


async def test_a_callback_is_accepted_again_after_a_failure() -> None:
    async with running_ingress() as ingress, ingress.connect() as client:
        ingress.publisher.fault = NotDurable("the broker is away")
        await client.send(GOOD)
        first = await client.answer()
        ingress.publisher.fault = None
        await client.send(GOOD)
        second = await client.answer()
        assert first is not None
        assert second is not None
        assert (first.status, second.status) == (503, 200)


async def test_another_method_is_answered_with_the_allowed_one() -> None:
    async with running_ingress() as ingress:
        answer = await answer_to(ingress, get("/hooks/krtc-main"))
        assert (answer.status, answer.headers["allow"]) == (405, "POST")


async def test_a_refused_head_is_answered_without_a_body() -> None:
    async with running_ingress() as ingress, ingress.connect() as client:
        await client.send(get("/hooks/krtc-main", "HEAD"))
        answer = await client.answer(to_head=True)
        assert answer is not None
        assert answer.status == 405
        assert await client.is_closed()


async def test_a_flood_of_forgeries_is_answered_429_and_genuine_callbacks_are_accepted() -> None:
    async with running_ingress(settings=with_settings(max_unverified_per_10_s=3)) as ingress:
        statuses = [(await answer_to(ingress, FORGERY)).status for _ in range(5)]
        assert statuses == [401, 401, 401, 429, 429]
        late = await answer_to(ingress, FORGERY)
        assert (late.code, late.headers["retry-after"]) == ("too_many_requests", "10")
        assert (await answer_to(ingress, GOOD)).status == 200
        assert (await answer_to(ingress, post(VOICE))).status == 200
        ingress.clock.now_s += 10
        assert (await answer_to(ingress, FORGERY)).status == 401


async def test_a_flood_at_one_source_does_not_affect_another() -> None:
    async with running_ingress(settings=with_settings(max_unverified_per_10_s=1)) as ingress:
        for _ in range(3):
            await answer_to(ingress, FORGERY)
        assert (await answer_to(ingress, post(VOICE, leave_out=["Signature"]))).status == 401


async def test_a_flood_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    async with running_ingress() as ingress:
        for _ in range(20):
            await answer_to(ingress, FORGERY)
    assert len(caplog.records) == 1


async def test_bytes_that_the_parser_refuses_do_not_reach_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async with running_ingress() as ingress:
        for hostile in (b"\x16\x03\x01zebra\r\n\r\n", changed(LENGTH, b"Content-Length: zebra"), b"zebra\r\n\r\n"):
            await ingress.ask(hostile)
    assert "zebra" not in caplog.text
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize(
    ("reason", "status", "body"),
    [("", 200, b'{"status":"ready"}'), ("queue_full", 503, b'{"status":"not ready","reason":"queue_full"}')],
    ids=["ready", "not ready"],
)
async def test_readiness_is_that_of_the_publisher(reason: str, status: int, body: bytes) -> None:
    async with running_ingress() as ingress:
        ingress.publisher.reason = reason
        answer = await answer_to(ingress, get("/readyz"))
        assert (answer.status, answer.body) == (status, body)
        assert (await answer_to(ingress, get("/healthz"))).status == 200


async def test_a_health_check_with_a_body_is_refused() -> None:
    async with running_ingress() as ingress:
        call = get("/healthz")[:-2] + b"Transfer-Encoding: gzip, chunked\r\n\r\n5\r\nzebra\r\n0\r\n\r\n"
        answer, closed = await ingress.ask(call)
        assert answer is not None
        assert (answer.status, answer.code, closed) == (400, "malformed_request", True)


async def test_a_draining_ingress_is_not_ready_and_still_serves() -> None:
    async with running_ingress(settings=with_settings(drain_s=2)) as ingress:
        stopping = asyncio.create_task(ingress.server.stop())
        await let_ingress_run()
        readiness = await answer_to(ingress, get("/readyz"))
        assert (readiness.status, readiness.body) == (503, b'{"status":"draining"}')
        accepted = await answer_to(ingress, GOOD)
        assert (accepted.status, accepted.closes) == (200, True)
        await stopping


async def refuses_connections(ingress: RunningIngress) -> bool:
    try:
        async with ingress.connect():
            return False
    except ConnectionRefusedError:
        return True


async def test_shutdown_answers_the_requests_in_flight() -> None:
    async with running_ingress() as ingress, ingress.connect() as client:
        ingress.publisher.hold()
        await client.send(GOOD)
        await ingress.publisher.called.wait()
        stopping = asyncio.create_task(ingress.server.stop())
        await let_ingress_run()
        assert await refuses_connections(ingress)
        ingress.publisher.release()
        answer = await client.answer()
        assert answer is not None
        assert (answer.status, answer.closes) == (200, True)
        await stopping


@pytest.mark.parametrize("lane", [True, False], ids=["fast lane", "usual way"])
async def test_shutdown_answers_what_has_arrived_and_is_not_read_yet(*, lane: bool) -> None:
    """A load balancer does not send a POST request again."""
    async with running_ingress(settings=with_settings(fast_lane=lane)) as ingress, ingress.connect() as client:
        await client.send(GOOD)
        await ingress.server.stop()
        answer = await client.answer()
        assert answer is not None
        assert (answer.status, answer.closes) == (200, True)


async def test_shutdown_reads_the_bodies_that_are_still_arriving() -> None:
    async with running_ingress(settings=with_settings(body_timeout_s=5)) as ingress, ingress.connect() as client:
        await client.send(GOOD[:-10])
        await let_ingress_run()
        stopping = asyncio.create_task(ingress.server.stop())
        await let_ingress_run()
        assert await refuses_connections(ingress)
        await client.send(GOOD[-10:])
        answer = await client.answer()
        assert answer is not None
        assert answer.status == 200
        await stopping
        assert [envelope.body for envelope in ingress.publisher.envelopes] == [BODY]


async def test_shutdown_does_not_wait_for_ever_for_a_publisher_that_hangs() -> None:
    async with running_ingress(settings=with_settings(shutdown_s=0.1)) as ingress, ingress.connect() as client:
        ingress.publisher.hold()
        await client.send(GOOD)
        await ingress.publisher.called.wait()
        await ingress.server.stop()
        assert await client.answer() is None


async def test_shutdown_does_not_wait_for_idle_connections() -> None:
    async with running_ingress() as ingress, ingress.connect() as client:
        await client.send(GOOD)
        await client.answer()
        await ingress.server.stop()
        assert await client.is_closed()


def test_codes_and_statuses_are_the_documented_ones() -> None:
    documented = {
        "malformed_request": 400,
        "missing_signature": 401,
        "bad_signature": 401,
        "stale_timestamp": 401,
        "unknown_source": 404,
        "method_not_allowed": 405,
        "slow_request": 408,
        "length_required": 411,
        "body_too_large": 413,
        "unsupported_encoding": 415,
        "expectation_failed": 417,
        "too_many_requests": 429,
        "overloaded": 503,
        "not_durable": 503,
    }
    assert {kind.reason: status for kind, status in responses.STATUS.items()} == documented


async def test_genuine_callbacks_that_cannot_be_read_fill_no_log(caplog: pytest.LogCaptureFixture) -> None:
    async with running_ingress() as ingress, ingress.connect() as client:
        for _ in range(20):
            await client.send(post(KRTC, signed(KRTC, b"zebra")))
            answer = await client.answer()
            assert answer is not None
            assert answer.status == 200
    assert caplog.text.count("a genuine callback cannot be read") == 1
