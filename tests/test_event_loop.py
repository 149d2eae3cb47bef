"""The garbage collector runs rarely, but it runs. Threads get the interpreter beside a busy event loop."""

import asyncio
import gc
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from hookline.runtime.event_loop import collect_rarely, let_threads_in, run_to_end

BUSY_S = 1.0
TURN_S = 0.0003
STEPS = 50


@pytest.fixture(autouse=True)
def as_served() -> Iterator[None]:
    before, switching_s = gc.get_threshold(), sys.getswitchinterval()
    gc.collect()
    collect_rarely()
    yield
    gc.set_threshold(*before)
    sys.setswitchinterval(switching_s)


def collections_during(new_objects: int) -> int:
    before = gc.get_stats()[0]["collections"]
    kept = [[number] for number in range(new_objects)]
    del kept
    return int(gc.get_stats()[0]["collections"]) - int(before)


def test_the_objects_of_a_thousand_requests_in_flight_trigger_no_collection() -> None:
    assert collections_during(15_000) == 0


def test_more_objects_trigger_collections() -> None:
    assert collections_during(50_000) > 0


async def steps_of_a_thread() -> int:
    """How often a thread lets go of the interpreter and gets it back, in a second of a loop that is busy all the time.

    So does one that writes a few rows to SQLite. The loop lets go in each of its short turns, too.
    """
    steps = 0

    def work() -> None:
        nonlocal steps
        while steps < STEPS:
            time.sleep(0)
            steps += 1

    threading.Thread(target=work, daemon=True).start()
    end_s = time.thread_time() + BUSY_S
    while steps < STEPS and time.thread_time() < end_s:
        turn_end_s = time.thread_time() + TURN_S
        while time.thread_time() < turn_end_s:
            pass
        await asyncio.sleep(0)
    return steps


def test_a_busy_event_loop_starves_no_thread() -> None:
    let_threads_in()
    assert run_to_end(steps_of_a_thread()) == STEPS
