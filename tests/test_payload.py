"""Times and numbers of a provider's JSON."""

from datetime import UTC, datetime
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hookline.schemas.payload import read_again, unix_s
from hookline.schemas.unknown import exactly

often = settings(max_examples=150, deadline=None, derandomize=True, database=None)

EARLIEST_S = int(datetime(2015, 1, 1, tzinfo=UTC).timestamp())
LATEST_S = int(datetime(2100, 1, 1, tzinfo=UTC).timestamp())
POSSIBLE = st.integers(EARLIEST_S, LATEST_S - 1)


@often
@given(time_s=POSSIBLE, ticks_per_s=st.sampled_from([1, 10**3, 10**6, 10**9]))
def test_a_time_is_read_in_the_unit_in_which_it_is_possible(time_s: int, ticks_per_s: int) -> None:
    assert unix_s(time_s * ticks_per_s) == time_s


@pytest.mark.parametrize("ticks_per_s", [1, 10**3, 10**6, 10**9])
def test_the_first_and_the_last_possible_times_are_read(ticks_per_s: int) -> None:
    assert unix_s(EARLIEST_S * ticks_per_s) == EARLIEST_S
    assert unix_s((LATEST_S - 1) * ticks_per_s) == LATEST_S - 1


def test_no_possible_time_in_one_unit_is_a_time_in_another() -> None:
    units = [range(EARLIEST_S * ticks, LATEST_S * ticks) for ticks in (1, 10**3, 10**6, 10**9)]
    assert all(lower.stop < upper.start for lower, upper in pairwise(units))


@pytest.mark.parametrize(
    "time", [None, 0, -1, 5, EARLIEST_S - 1, LATEST_S, 253_402_300_799, 2**63 - 1, -(2**63)], ids="{} s".format
)
def test_a_time_that_cannot_be_is_none(time: int | None) -> None:
    assert unix_s(time) is None


def test_milliseconds_are_kept() -> None:
    assert unix_s(1_700_000_000_123) == 1_700_000_000.123


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (b"9007199254740993.0", b"9007199254740992.0"),
        (b"0.12345678901234567891", b"0.12345678901234567892"),
        (b"1e400", b"1e401"),
        (b"1e-400", b"0.0"),
        (b"1e99999999999999999999", b"1e99999999999999999998"),
        (b"1e-99999999999999999999", b"1e-99999999999999999998"),
        (b"100000000000000000001", b"100000000000000000002"),
        (b"1" * 5000 + b"1", b"1" * 5000 + b"2"),
    ],
    ids=lambda number: repr(number[:24]),
)
def test_numbers_that_are_the_same_as_floats_are_kept_apart(one: bytes, other: bytes) -> None:
    assert read_again(exactly, one) != read_again(exactly, other)


@pytest.mark.parametrize(
    "number", [0.1, 1.10, 0.30000000000000004, 1e22, 5e-324, 1.7976931348623157e308, -0.0], ids=repr
)
def test_a_number_that_a_float_holds_is_read_as_one(number: float) -> None:
    assert read_again(exactly, repr(number).encode()) == number


@often
@given(number=st.floats(allow_nan=False, allow_infinity=False))
def test_every_number_that_a_float_wrote_is_read_as_it(number: float) -> None:
    assert read_again(exactly, repr(number).encode()) == number
