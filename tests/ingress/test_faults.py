"""When the fault is ours, or the flood is theirs; and how the ingress closes."""

import asyncio
from collections.abc import Iterator

import msgspec
import pytest

from hookline.ingress import responses
from hookline.schemas import errors
from hookline.schemas.errors import NotDurable, Refused
from tests.ingress.house import VOICE, House, opened, post, with_settings
from tests.ingress.proof_rows import FORGED
from tests.ingress.rows import BODY, GOOD, LENGTH, changed
from tests.ingress.wire import Answer, turns


def get(path: str, method: str = "GET") -> bytes:
    return f"{method} {path} HTTP/1.1\r\nHost: ingress.example\r\n\r\n".encode()


async def answer_to(house: House, request: bytes) -> Answer:
    answer, _ = await house.ask(request)
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
def test_a_refusal_says_its_reason_and_what_helps(kind: type[Refused]) -> None:
    response = responses.refused(kind("why"))
    assert response.status == responses.STATUS[kind]
    assert isinstance(response.body, bytes)
    assert msgspec.json.decode(response.body) == {"error": {"code": kind.reason, "message": "why"}}
    assert ("Retry-After" in response.headers) == (response.status in (429, 503))
    assert ("Allow" in response.headers) == (response.status == 405)


def test_the_reasons_of_refusals_are_told_apart() -> None:
    reasons = [kind.reason for kind in leaves(Refused)]
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
async def test_a_publisher_that_fails_is_our_fault_whatever_it_raises(fault: BaseException) -> None:
    async with opened() as house:
        house.publisher.fault = fault
        answer = await answer_to(house, GOOD)
        assert (answer.status, answer.code) == (503, "not_durable")
        assert int(answer.headers["retry-after"]) > 0
        assert b"zebra" not in answer.raw


async def test_a_genuine_callback_is_taken_again_after_a_failure() -> None:
    async with opened() as house, house.connect() as client:
        house.publisher.fault = NotDurable("the broker is away")
        await client.send(GOOD)
        first = await client.answer()
        house.publisher.fault = None
        await client.send(GOOD)
        second = await client.answer()
        assert first is not None
        assert second is not None
        assert (first.status, second.status) == (503, 200)


async def test_the_method_that_is_allowed_is_named() -> None:
    async with opened() as house:
        answer = await answer_to(house, get("/hooks/krtc-main"))
        assert (answer.status, answer.headers["allow"]) == (405, "POST")


async def test_a_refused_head_is_answered_without_a_body() -> None:
    async with opened() as house, house.connect() as client:
        await client.send(get("/hooks/krtc-main", "HEAD"))
        answer = await client.answer(to_head=True)
        assert answer is not None
        assert answer.status == 405
        assert await client.is_closed()


async def test_a_flood_of_forgeries_is_told_to_stay_away_and_the_provider_is_not() -> None:
    forged = next(row.request for row in FORGED if row.name.startswith("62"))
    async with opened(settings=with_settings(max_unverified_per_10_s=3)) as house:
        statuses = [(await answer_to(house, forged)).status for _ in range(5)]
        assert statuses == [401, 401, 401, 429, 429]
        late = await answer_to(house, forged)
        assert (late.code, late.headers["retry-after"]) == ("too_many_requests", "10")
        assert (await answer_to(house, GOOD)).status == 200
        assert (await answer_to(house, post(VOICE))).status == 200
        house.clock.now_s += 10
        assert (await answer_to(house, forged)).status == 401


async def test_a_flood_at_one_source_is_not_held_against_another() -> None:
    forged = next(row.request for row in FORGED if row.name.startswith("62"))
    async with opened(settings=with_settings(max_unverified_per_10_s=1)) as house:
        for _ in range(3):
            await answer_to(house, forged)
        assert (await answer_to(house, post(VOICE, leave_out=["Signature"]))).status == 401


async def test_a_flood_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    forged = next(row.request for row in FORGED if row.name.startswith("62"))
    async with opened() as house:
        for _ in range(20):
            await answer_to(house, forged)
    assert len(caplog.records) == 1


async def test_what_the_parser_refuses_does_not_reach_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async with opened() as house:
        for hostile in (b"\x16\x03\x01zebra\r\n\r\n", changed(LENGTH, b"Content-Length: zebra"), b"zebra\r\n\r\n"):
            await house.ask(hostile)
    assert "zebra" not in caplog.text
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize(
    ("ready", "status", "said"), [(True, 200, b'{"status":"ready"}'), (False, 503, b'{"status":"not ready"}')]
)
async def test_readiness_is_the_publishers(*, ready: bool, status: int, said: bytes) -> None:
    async with opened() as house:
        house.publisher.ready = ready
        answer = await answer_to(house, get("/readyz"))
        assert (answer.status, answer.body) == (status, said)
        assert (await answer_to(house, get("/healthz"))).status == 200


async def test_a_health_check_has_no_body() -> None:
    async with opened() as house:
        call = get("/healthz")[:-2] + b"Transfer-Encoding: gzip, chunked\r\n\r\n5\r\nzebra\r\n0\r\n\r\n"
        answer, closed = await house.ask(call)
        assert answer is not None
        assert (answer.status, answer.code, closed) == (400, "malformed_request", True)


async def test_a_closing_door_says_so_and_serves_on() -> None:
    async with opened(settings=with_settings(drain_s=0.3)) as house:
        stopping = asyncio.create_task(house.ingress.stop())
        await turns()
        readiness = await answer_to(house, get("/readyz"))
        assert (readiness.status, readiness.body) == (503, b'{"status":"draining"}')
        taken = await answer_to(house, GOOD)
        assert (taken.status, taken.closes) == (200, True)
        await stopping


async def refuses_connections(house: House) -> bool:
    try:
        async with house.connect():
            return False
    except ConnectionRefusedError:
        return True


async def test_a_closed_door_has_answered_what_was_in_hand() -> None:
    async with opened() as house, house.connect() as client:
        house.publisher.hold()
        await client.send(GOOD)
        await house.publisher.called.wait()
        stopping = asyncio.create_task(house.ingress.stop())
        await turns()
        assert await refuses_connections(house)
        house.publisher.release()
        answer = await client.answer()
        assert answer is not None
        assert (answer.status, answer.closes) == (200, True)
        await stopping


async def test_a_closed_door_has_taken_the_bodies_that_were_on_their_way() -> None:
    async with opened(settings=with_settings(body_timeout_s=5)) as house, house.connect() as client:
        await client.send(GOOD[:-10])
        await turns()
        stopping = asyncio.create_task(house.ingress.stop())
        await turns()
        assert await refuses_connections(house)
        await client.send(GOOD[-10:])
        answer = await client.answer()
        assert answer is not None
        assert answer.status == 200
        await stopping
        assert [envelope.body for envelope in house.publisher.envelopes] == [BODY]


async def test_a_door_that_closes_gives_up_on_a_publisher_that_hangs() -> None:
    async with opened(settings=with_settings(shutdown_s=0.1)) as house, house.connect() as client:
        house.publisher.hold()
        await client.send(GOOD)
        await house.publisher.called.wait()
        await house.ingress.stop()
        assert await client.answer() is None


async def test_an_idle_connection_does_not_hold_a_door_open() -> None:
    async with opened() as house, house.connect() as client:
        await client.send(GOOD)
        await client.answer()
        await house.ingress.stop()
        assert await client.is_closed()


def test_codes_and_statuses_are_those_that_are_promised() -> None:
    promised = {
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
        "not_durable": 503,
    }
    assert {kind.reason: status for kind, status in responses.STATUS.items()} == promised
