"""When lost connections come back: soon, not all at once, and the others of a process with the first."""

import asyncio
import random
from collections.abc import Sequence
from itertools import accumulate

import pytest

from hookline.aio.pulse import Pulse
from hookline.broker.rabbitmq.connection import RECONNECT

PROCESSES = 100
PROMISED_S = 15.0
WINDOW_S = 0.1


def arrivals(away_s: float) -> list[float]:
    """When each process tries first after the server is back, in seconds after the loss."""
    return sorted(first_try(away_s) for _ in range(PROCESSES))


def first_try(away_s: float) -> float:
    tries = accumulate(RECONNECT.delay_s(failures) for failures in range(1, 10_000))
    return next(try_s for try_s in tries if try_s >= away_s)


def crowd(arrivals_s: Sequence[float]) -> int:
    """The largest number of arrivals within a tenth of a second."""
    return max(sum(first <= each < first + WINDOW_S for each in arrivals_s) for first in arrivals_s)


@pytest.mark.parametrize("away_s", [0.0, 1.0, 10.0, 90.0])
def test_a_hundred_processes_come_back_soon_and_not_at_once(away_s: float) -> None:
    random.seed(7)
    for _ in range(5):
        arrivals_s = arrivals(away_s)
        assert arrivals_s[-1] - away_s <= RECONNECT.max_s < PROMISED_S / 2
        assert crowd(arrivals_s) <= PROCESSES * 0.4


async def test_a_pulse_wakes_all_that_wait_and_none_that_waits_later() -> None:
    pulse = Pulse()
    waiting = [asyncio.create_task(pulse.wait(60)) for _ in range(2)]
    await asyncio.sleep(0)
    pulse.send()
    assert await asyncio.gather(*waiting) == [True, True]
    assert not await pulse.wait(0)
