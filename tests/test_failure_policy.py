"""The outcome of a delivery whose function failed: the delay with its jitter, or the dead letter."""

import math
import re
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookline import Backoff, Delivery, Poisoned, Retry, worker
from hookline.events import ParticipantJoined
from hookline.schemas.broker import Again, Outcome, Parked, Received
from hookline.schemas.copies import as_copy, as_next_copy
from hookline.schemas.dead_letters import REPLAYED_AT, REPLAYS
from hookline.schemas.envelope import to_headers
from hookline.schemas.errors import Unreachable
from hookline.workers.api import YEAR_S
from hookline.workers.failure_policy import ClaimUnavailable, HandlerTimedOut, ProcessDied, failure_policy, kept_error
from hookline.workers.pipeline import Pipeline
from hookline.workers.store import MemoryStore
from hookline.workers.user_code import described
from tests.contract.installations import envelope
from tests.events import START, make

DAY_S = 24 * 3600.0

backoffs = st.builds(
    Backoff,
    first_s=st.floats(0, 10),
    factor=st.floats(1, 10),
    max_s=st.floats(10, 10_000),
    attempts=st.integers(1, 1000),
    jitter=st.floats(0, 1),
)


@given(backoffs, st.integers(1, 1000), st.floats(0, 1))
def test_a_delay_differs_from_the_schedule_by_the_jitter_at_most(backoff: Backoff, attempt: int, chance: float) -> None:
    middle_s, delay_s = backoff.delay_s(attempt), backoff.delay_s(attempt, chance)
    if middle_s is None or delay_s is None:
        assert attempt >= backoff.attempts
        assert middle_s == delay_s
    else:
        assert middle_s <= backoff.max_s
        assert abs(delay_s - middle_s) <= middle_s * (backoff.jitter + 1e-9)


@given(backoffs, st.integers(1, 999))
def test_delays_of_the_schedule_never_decrease(backoff: Backoff, attempt: int) -> None:
    now_s, next_s = backoff.delay_s(attempt), backoff.delay_s(attempt + 1)
    assert next_s is None or (now_s is not None and now_s <= next_s)


def test_chance_spreads_delays_over_the_whole_jitter() -> None:
    backoff = Backoff(first_s=10, jitter=0.1)
    assert [backoff.delay_s(1, chance) for chance in (0, 0.5, 1)] == pytest.approx([9, 10, 11])


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param({"jitter": -0.1}, id="negative jitter"),
        pytest.param({"jitter": 1.1}, id="jitter above 1"),
        pytest.param({"max_age_s": 0}, id="no time to retry"),
        pytest.param({"first_s": math.nan}, id="no number to begin with"),
        pytest.param({"max_s": math.nan}, id="no number to end with"),
        pytest.param({"max_s": math.inf}, id="no end"),
        pytest.param({"max_s": YEAR_S + 1}, id="more than a year"),
        pytest.param({"first_s": 0, "factor": math.inf}, id="no time that grows without end"),
    ],
)
def test_an_invalid_backoff_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="Backoff needs"):
        Backoff(**wrong)  # type: ignore[arg-type]  # all are numbers


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param({"first_s": Decimal(2)}, id="a Decimal, which no float is multiplied with"),
        pytest.param({"max_s": "60"}, id="a text"),
        pytest.param({"max_age_s": timedelta(days=1)}, id="a timedelta"),
        pytest.param({"attempts": 2.5}, id="two and a half attempts"),
        pytest.param({"attempts": True}, id="a flag"),
    ],
)
def test_a_backoff_takes_numbers_only(wrong: dict[str, Any]) -> None:
    (name,) = wrong
    with pytest.raises(TypeError, match=f"{name} of Backoff is .*, and must be a (whole )?number"):
        Backoff(**wrong)


@pytest.mark.parametrize(
    "error", [ValueError(), HandlerTimedOut(), Retry(after_s=1)], ids=["failed", "timed out", "retry"]
)
def test_an_event_that_is_too_old_is_parked(error: Exception) -> None:
    young, old = (failure_policy(error, Backoff(max_age_s=DAY_S), 2, age_s, 0.5) for age_s in (DAY_S - 1, DAY_S))
    assert isinstance(young, Again)
    assert isinstance(old, Parked)
    assert (old.reason, old.attempts) == ("too_old", 2)
    assert type(error).__name__ in old.detail


@pytest.mark.parametrize("error", [ClaimUnavailable(), Unreachable()], ids=["leased elsewhere", "store unreachable"])
def test_an_event_that_was_not_handled_is_never_too_old(error: Exception) -> None:
    assert isinstance(failure_policy(error, Backoff(), 1, 1000 * DAY_S, 0.5), Again)


@pytest.mark.parametrize(
    ("error", "reason"),
    [(ValueError(), "failed"), (Poisoned("why"), "poisoned"), (ProcessDied(), "crashed")],
    ids=["failed", "poisoned", "crashed"],
)
def test_an_event_that_is_parked_at_any_age_keeps_its_reason(error: Exception, reason: str) -> None:
    outcome = failure_policy(error, Backoff(attempts=3), 3, 1000 * DAY_S, 0.5)
    assert isinstance(outcome, Parked)
    assert outcome.reason == reason


class UnknownCustomer(Poisoned):
    """As a team derives one."""


class Speechless(Poisoned):
    def __init__(self) -> None:
        """Without a reason."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


class Later(Retry):
    """Sets its time in another way, or none."""

    def __init__(self, **set_by_hand: object) -> None:
        vars(self).update(set_by_hand)


@pytest.mark.parametrize(
    ("error", "detail"),
    [
        pytest.param(UnknownCustomer("no such customer"), "^no such customer$", id="of one's own"),
        pytest.param(Speechless(), "Speechless", id="whose text cannot be shown"),
        pytest.param(Poisoned("x" * 100_000), "^x{16384}$", id="with a long text"),
    ],
)
def test_an_exception_derived_from_poisoned_parks_the_event(error: Exception, detail: str) -> None:
    outcome = failure_policy(error, Backoff(), 1, 0, 0.5)
    assert isinstance(outcome, Parked)
    assert outcome.reason == "poisoned"
    assert re.search(detail, outcome.detail)


class Unshowable(Exception):
    """Its module made it for something else than tracebacks."""

    def __getattribute__(self, name: str) -> Any:
        if name in ("__cause__", "__context__"):
            raise RuntimeError(name)
        return super().__getattribute__(name)


def unshowable(kind: str) -> Exception:
    of_bytes: Any = ("a", 1, 1, b"bytes")
    return SyntaxError("not JSON", of_bytes) if kind == "a text of bytes" else Unshowable()


@pytest.mark.parametrize("with_texts", [True, False], ids=["full", "place"])
@pytest.mark.parametrize("kind", ["an attribute that raises", "a text of bytes"])
def test_an_error_that_cannot_be_shown_fails_as_any_other(kind: str, *, with_texts: bool) -> None:
    error = unshowable(kind)
    outcome = failure_policy(error, Backoff(first_s=2), 1, 0, 0.5)
    assert isinstance(outcome, Again)
    assert (outcome.delay_s, outcome.reason) == (2, "failed")
    assert type(error).__name__ in outcome.error
    assert type(error).__name__ in kept_error(error, with_texts=with_texts)


def test_the_type_of_an_error_takes_one_line_of_the_log() -> None:
    made = type("Not\nFound\x1b[31m" + "x" * 5000, (Exception,), {})
    assert described(made()) == "Not?Found?[31m" + "x" * 86
    assert described(type("客户未找到", (Exception,), {})()) == "客户未找到"


def test_an_exception_derived_from_retry_has_its_time() -> None:
    assert failure_policy(Later(after_s=7), Backoff(), 3, 0, 0.5) == Again(7.0, 3, "retry")


@pytest.mark.parametrize(
    "error",
    [Later(), Later(after_s="7"), Later(after_s=math.nan), Later(after_s=1e12)],
    ids=["none", "text", "NaN", "ages"],
)
def test_an_exception_derived_from_retry_without_a_time_is_a_failure(error: Exception) -> None:
    outcome = failure_policy(error, Backoff(first_s=2), 1, 0, 0.5)
    assert isinstance(outcome, Again)
    assert (outcome.delay_s, outcome.attempt, outcome.reason) == (2, 2, "failed")


@worker(ParticipantJoined)
async def retrying(event: ParticipantJoined) -> None:
    raise Retry(after_s=60)


async def outcome_at(age: timedelta, **headers: str) -> Outcome:
    """The outcome of an event of this age whose function asks for a retry."""
    sealed = envelope("participant.joined")
    event = make(ParticipantJoined, user_id="u")
    now_s = (sealed.received_at + age).timestamp()
    pipeline = Pipeline(retrying, MemoryStore(), normalise=lambda _: (event,), clock=lambda: now_s)
    message = Received({**to_headers(sealed), **headers}, "", b"{}", 1, None)
    return (await pipeline.work(message)).outcome


async def test_retry_is_refused_once_the_event_is_too_old() -> None:
    assert isinstance(await outcome_at(timedelta(days=2.9)), Again)
    assert isinstance(await outcome_at(timedelta(days=3)), Parked)


async def test_the_age_of_a_replayed_event_counts_from_its_replay() -> None:
    received_at: datetime = envelope().received_at
    replayed_at = received_at + timedelta(days=30)
    assert isinstance(await outcome_at(timedelta(days=31), **{REPLAYED_AT: replayed_at.isoformat()}), Again)
    assert isinstance(await outcome_at(timedelta(days=34), **{REPLAYED_AT: replayed_at.isoformat()}), Parked)


@pytest.mark.parametrize(
    "malformed",
    ["", "soon", "2026-01-01", "2026-01-01T00:00:00"],
    ids=["empty", "a word", "a date", "no time zone"],
)
async def test_a_malformed_time_of_replay_is_ignored(malformed: str) -> None:
    assert isinstance(await outcome_at(timedelta(days=4), **{REPLAYED_AT: malformed}), Parked)


async def test_attempts_of_a_parked_event_start_again_when_it_is_replayed() -> None:
    event = make(ParticipantJoined, user_id="u")
    attempts: list[int] = []

    @worker(ParticipantJoined, retry=Backoff(first_s=0, attempts=2))
    async def failing(event: ParticipantJoined, delivery: Delivery) -> None:
        attempts.append(delivery.attempt)
        raise ValueError

    pipeline = Pipeline(failing, MemoryStore(), normalise=lambda _: (event,), clock=START.timestamp)
    sealed = to_headers(envelope("participant.joined"))
    again = {**sealed, REPLAYS: "1"}
    for headers in (sealed, as_next_copy(sealed), as_copy(sealed, 2), again, as_next_copy(again)):
        await pipeline.work(Received(headers, "", b"{}", 1, None))
    assert attempts == [1, 2, 1, 2]
