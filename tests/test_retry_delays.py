"""Delays between the tries of something of our own."""

import pytest

from hookline.aio.retry_delays import RetryDelays

DELAYS = RetryDelays(first_s=0.5, max_s=15.0)


@pytest.mark.parametrize(
    ("failures", "limit_s"),
    [(1, 0.5), (2, 1.0), (5, 8.0), (6, 15.0), (10_000, 15.0)],
    ids=["first", "second", "below the limit", "at the limit", "after a day"],
)
def test_delays_double_up_to_a_limit(failures: int, limit_s: float) -> None:
    delays_s = [DELAYS.delay_s(failures) for _ in range(200)]
    assert all(limit_s / 2 <= delay_s <= limit_s for delay_s in delays_s)


def test_what_failed_together_does_not_come_back_together() -> None:
    assert len({DELAYS.delay_s(3) for _ in range(100)}) > 50
