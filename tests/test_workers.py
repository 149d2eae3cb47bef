"""Workers, run through the real pipeline in memory."""

import asyncio
import math
import sys
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from hookline import Backoff, Delivery, Poisoned, Retry, Worker, worker
from hookline.events import CallStarted, Event, ParticipantJoined, ParticipantLeft, RoomCreated, Unknown
from hookline.schemas.broker import Again, Done, Parked, Received
from hookline.schemas.copies import as_next_copy
from hookline.schemas.envelope import TIME_HEADER, Identity, seal, to_headers
from hookline.testing import deliver
from hookline.workers.pipeline import Pipeline
from hookline.workers.store import MemoryStore
from tests.events import START, make

JOINED = make(ParticipantJoined, user_id="u")


async def failed(function: Worker[Any]) -> Again:
    """The outcome of an event whose function fails as any may."""
    outcome = await deliver(function, JOINED)
    assert isinstance(outcome, Again)
    assert outcome.reason == "failed"
    return outcome


async def test_an_event_is_done_when_the_function_returns() -> None:
    seen: list[ParticipantJoined] = []

    @worker(ParticipantJoined)
    async def attendance(event: ParticipantJoined) -> None:
        seen.append(event)

    assert await deliver(attendance, JOINED) == Done()
    assert seen == [JOINED]


async def test_a_second_parameter_receives_the_delivery() -> None:
    seen: list[Delivery] = []

    @worker(ParticipantJoined)
    async def attendance(event: ParticipantJoined, delivery: Delivery) -> None:
        seen.append(delivery)

    await deliver(attendance, JOINED, attempt=3, body=b'{"raw": true}')
    (delivery,) = seen
    assert (delivery.event_id, delivery.attempt, delivery.body) == ("event", 3, b'{"raw": true}')
    assert (delivery.provider, delivery.source, delivery.occurred_at) == ("krtc", "krtc-main", START)
    assert delivery.topic == "krtc.krtc-main.participant.joined"


async def test_a_repeat_is_not_handled_again() -> None:
    calls: list[str] = []

    @worker(ParticipantJoined)
    async def attendance(event: ParticipantJoined) -> None:
        calls.append(event.id)

    store = MemoryStore()
    assert await deliver(attendance, JOINED, store=store) == Done()
    assert await deliver(attendance, JOINED, store=store) == Done("duplicate")
    assert calls == ["event"]


async def test_of_two_bodies_with_one_id_the_first_is_handled_and_the_second_is_a_repeat() -> None:
    names: list[str | None] = []

    @worker(ParticipantJoined)
    async def attendance(event: ParticipantJoined) -> None:
        names.append(event.display_name)

    store = MemoryStore()
    first, second = (msgspec.structs.replace(JOINED, display_name=name) for name in ("first", "second"))
    assert await deliver(attendance, first, store=store) == Done()
    assert await deliver(attendance, second, store=store) == Done("duplicate")
    assert names == ["first"]


async def test_concurrent_repeats_are_handled_once() -> None:
    calls: list[str] = []

    @worker(ParticipantJoined)
    async def attendance(event: ParticipantJoined) -> None:
        await asyncio.sleep(0)
        calls.append(event.id)

    pipeline = Pipeline(attendance, MemoryStore(), normalise=lambda _: (JOINED,))
    works = await asyncio.gather(*(pipeline.work(received()) for _ in range(10)))
    assert calls == ["event"]
    assert sorted(work.outcome.reason for work in works) == ["duplicate"] * 9 + ["handled"]


async def test_a_failed_event_is_handled_at_the_next_delivery() -> None:
    attempts: list[int] = []

    @worker(ParticipantJoined)
    async def attendance(event: ParticipantJoined, delivery: Delivery) -> None:
        attempts.append(delivery.attempt)
        if delivery.attempt == 1:
            raise ConnectionError

    store = MemoryStore()
    assert isinstance(await deliver(attendance, JOINED, store=store), Again)
    assert await deliver(attendance, JOINED, attempt=2, store=store) == Done()
    assert attempts == [1, 2]


async def test_a_failed_event_is_retried_with_a_delay_and_uses_up_an_attempt() -> None:
    outcome = await deliver(failing(Backoff(first_s=2, factor=3, max_s=10, attempts=4, jitter=0)), JOINED)
    assert isinstance(outcome, Again)
    assert (outcome.delay_s, outcome.attempt, outcome.reason) == (2, 2, "failed")
    assert outcome.detail.startswith("ValueError in test_workers.py:")


def test_delays_grow_up_to_a_limit_until_the_last_attempt() -> None:
    backoff = Backoff(first_s=2, factor=3, max_s=10, attempts=5)
    assert [backoff.delay_s(attempt) for attempt in range(1, 6)] == [2, 6, 10, 10, None]


async def test_the_last_failure_is_parked_with_its_traceback() -> None:
    outcome = await deliver(failing(Backoff(attempts=4)), JOINED, attempt=4)
    assert isinstance(outcome, Parked)
    assert (outcome.reason, outcome.attempts) == ("failed", 4)
    assert "ValueError: no such room" in outcome.detail
    assert "test_workers.py" in outcome.detail


async def test_the_message_of_an_exception_is_not_in_the_detail_for_logs() -> None:
    outcome = await deliver(failing(Backoff()), JOINED)
    assert isinstance(outcome, Again)
    assert "no such room" not in outcome.detail


async def test_retry_uses_up_no_attempt() -> None:
    @worker(ParticipantJoined)
    async def attendance(event: ParticipantJoined) -> None:
        raise Retry(after_s=60)

    assert await deliver(attendance, JOINED, attempt=3) == Again(60, 3, "retry")


@pytest.mark.parametrize("after_s", [math.nan, math.inf, -math.inf, 1e12], ids=str)
async def test_a_retry_after_a_time_that_cannot_be_is_a_failure_like_any_other(after_s: float) -> None:
    """No broker can keep such a time: a worker on RabbitMQ ended with it, and one on SQLite settled nothing more."""

    @worker(ParticipantJoined)
    async def attendance(event: ParticipantJoined) -> None:
        raise Retry(after_s=after_s)

    outcome = await deliver(attendance, JOINED)
    assert isinstance(outcome, Again)
    assert (outcome.attempt, outcome.reason) == (2, "failed")
    assert f"after_s is {after_s:g}, and must be a number of seconds up to a year" in outcome.error


async def test_a_retry_after_a_decimal_time_is_one_after_a_float() -> None:
    @worker(ParticipantJoined)
    async def attendance(event: ParticipantJoined) -> None:
        raise Retry(after_s=Decimal("1.5"))  # type: ignore[arg-type]  # whose team does not check types

    outcome = await deliver(attendance, JOINED)
    assert isinstance(outcome, Again)
    assert (type(outcome.delay_s), outcome.delay_s) == (float, 1.5)


async def test_a_poisoned_event_is_parked_at_once() -> None:
    @worker(ParticipantJoined)
    async def attendance(event: ParticipantJoined) -> None:
        raise Poisoned("the customer is gone")

    assert await deliver(attendance, JOINED) == Parked("poisoned", "the customer is gone", 1)


async def test_a_function_that_takes_too_long_is_cancelled_and_its_event_retried() -> None:
    stopped = asyncio.Event()

    @worker(ParticipantJoined, timeout_s=0.01)
    async def attendance(event: ParticipantJoined) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    outcome = await deliver(attendance, JOINED)
    assert isinstance(outcome, Again)
    assert outcome.reason == "timeout"
    assert stopped.is_set()


async def test_a_function_that_calls_exit_fails_as_others_do_and_its_line_is_named() -> None:
    @worker(ParticipantJoined)
    async def leave(event: ParticipantJoined) -> None:
        sys.exit(1)

    outcome = await failed(leave)
    assert outcome.detail.startswith("ExitCalled in test_workers.py:")
    assert "the function called exit(); a worker's function raises another exception" in outcome.error


class Panic(BaseException):
    """As a library in Rust raises it."""


@pytest.mark.parametrize(
    "error", [Panic(), KeyboardInterrupt(), GeneratorExit()], ids=["a panic", "an interrupt", "a closed generator's"]
)
async def test_a_function_that_raises_no_exception_fails_as_others_do_and_its_line_is_named(
    error: BaseException,
) -> None:
    @worker(ParticipantJoined)
    async def attendance(event: ParticipantJoined) -> None:
        raise error

    outcome = await failed(attendance)
    assert outcome.detail.startswith("RaisedNoException in test_workers.py:")
    assert f"the function raised {type(error).__name__}, which is no Exception" in outcome.error


async def test_a_function_that_awaits_something_cancelled_fails_as_with_any_other_exception() -> None:
    @worker(ParticipantJoined)
    async def attendance(event: ParticipantJoined) -> None:
        cancelled = asyncio.get_running_loop().create_future()
        cancelled.cancel()
        await cancelled

    outcome = await failed(attendance)
    assert outcome.detail.startswith("CancelledItself in test_workers.py:")


async def test_a_timeout_error_of_the_function_is_a_failure_like_others() -> None:
    @worker(ParticipantJoined)
    async def attendance(event: ParticipantJoined) -> None:
        raise TimeoutError

    await failed(attendance)


async def test_an_event_whose_function_was_cancelled_is_handled_at_the_next_delivery() -> None:
    started = asyncio.Event()
    store = MemoryStore()

    @worker(ParticipantJoined)
    async def attendance(event: ParticipantJoined, delivery: Delivery) -> None:
        if delivery.attempt == 1:
            started.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(deliver(attendance, JOINED, store=store))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await deliver(attendance, JOINED, attempt=2, store=store) == Done()


async def test_members_that_were_handled_are_skipped_at_the_next_delivery() -> None:
    calls: list[str] = []
    members = tuple(make(ParticipantJoined, f"event:{user}", user_id=user) for user in "abc")

    @worker(ParticipantJoined)
    async def attendance(event: ParticipantJoined, delivery: Delivery) -> None:
        calls.append(event.user_id)
        if event.user_id == "b" and delivery.attempt == 1:
            raise ValueError

    pipeline = Pipeline(attendance, MemoryStore(), normalise=lambda _: members, clock=START.timestamp)
    first = received()
    assert isinstance((await pipeline.work(first)).outcome, Again)
    copy = msgspec.structs.replace(first, headers=as_next_copy(first.headers))
    assert (await pipeline.work(copy)).outcome == Done()
    assert calls == ["a", "b", "c", "b"]


async def test_a_genuine_callback_with_an_unreadable_body_is_parked() -> None:
    @worker(topic="*.*.unreadable")
    async def odd(event: Event) -> None: ...

    identity = Identity("unreadable", ("x",), "", 0)
    envelope = seal(
        identity, b"not json", provider="krtc", source="s", content_type="application/json", received_at=START
    )
    message = Received(to_headers(envelope), envelope.content_type, envelope.body, 1, None)
    outcome = (await Pipeline(odd, MemoryStore()).work(message)).outcome
    assert isinstance(outcome, Parked)
    assert outcome.reason == "unreadable"


async def test_an_event_of_a_time_without_unix_seconds_is_handled() -> None:
    """It has no zone, and is too early for the one of this machine. Another program may have published it."""
    late: list[bool] = []

    @worker(ParticipantJoined)
    async def attendance(_: ParticipantJoined, delivery: Delivery) -> None:
        late.append(delivery.late)

    message = received()
    message = msgspec.structs.replace(message, headers={**message.headers, TIME_HEADER: "0001-01-01T00:00:00"})
    work = await Pipeline(attendance, MemoryStore(), normalise=lambda _: (JOINED,)).work(message)
    assert (work.outcome, late) == (Done(), [False])


async def test_a_message_that_is_not_an_envelope_is_parked() -> None:
    work = await Pipeline(failing(Backoff()), MemoryStore()).work(Received({"who": "knows"}, "", b"", 1, None))
    assert isinstance(work.outcome, Parked)
    assert work.outcome.reason == "unreadable"


def test_a_worker_can_be_called_like_its_function() -> None:
    calls: list[str] = []

    @worker(ParticipantJoined)
    async def attendance(event: ParticipantJoined) -> None:
        calls.append(event.user_id)

    asyncio.run(_await(attendance(JOINED)))
    assert calls == ["u"]


def test_a_worker_is_bound_to_the_topics_of_its_events() -> None:
    @worker(RoomCreated, Unknown, queue="mixed")
    async def mixed(event: RoomCreated | Unknown) -> None: ...

    assert mixed.patterns == ("*.*.room.created", "*.*.unknown.*")
    assert mixed.queue == "mixed"


def test_the_queue_is_named_after_the_function_by_default() -> None:
    @worker(CallStarted)
    async def calls(event: CallStarted) -> None: ...

    assert calls.queue == "calls"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param({"queue": "Not A Name"}, "is not a name", id="queue with capitals and spaces"),
        pytest.param({"queue": "unrouted"}, "is not a name", id="reserved queue"),
        pytest.param({"concurrency": 0}, "concurrency is 0", id="no concurrency"),
        pytest.param({"timeout_s": 0}, "timeout_s is 0", id="no time"),
    ],
)
def test_invalid_options_of_a_worker_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):

        @worker(RoomCreated, **options)
        async def made(event: RoomCreated) -> None: ...


def test_a_worker_without_events_and_topic_is_refused() -> None:
    with pytest.raises(TypeError, match="one of the two"):
        worker()


def test_a_function_that_is_not_async_is_refused() -> None:
    with pytest.raises(TypeError, match="not an async function"):

        @worker(RoomCreated)  # type: ignore[arg-type]  # the mistake
        def made(event: RoomCreated) -> None: ...


def test_a_topic_that_no_event_can_match_is_refused() -> None:
    with pytest.raises(ValueError, match="is not words"):

        @worker(topic="KRTC..room")
        async def made(event: Event) -> None: ...


async def test_an_event_of_a_type_that_the_worker_did_not_name_is_put_back() -> None:
    calls: list[str] = []

    @worker(ParticipantLeft)
    async def leaving(event: ParticipantLeft) -> None:
        calls.append(event.id)

    anything: Worker[Any] = leaving
    outcome = await deliver(anything, JOINED)
    assert isinstance(outcome, Again)
    assert (outcome.reason, outcome.attempt) == ("unwanted", 1)
    assert calls == []


def failing(retry: Backoff) -> Any:
    @worker(ParticipantJoined, retry=retry)
    async def attendance(event: ParticipantJoined) -> None:
        raise ValueError("no such room")

    return attendance


def received(attempt: int = 1) -> Received:
    identity = Identity("participant.joined", ("x",), "room", 0)
    envelope = seal(identity, b"{}", provider="krtc", source="s", content_type="application/json", received_at=START)
    return Received(to_headers(envelope), envelope.content_type, envelope.body, attempt, None)


async def _await(awaitable: Any) -> None:
    await awaitable
