"""The garbage collector runs rarely, but it runs. Threads get the interpreter beside a busy event loop."""

import gc
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from hookline.runtime.event_loop import collect_rarely, let_threads_in, run_to_end
from tests.busy_loops import busy_until

BUSY_S = 1.0
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

    So does one that writes a few rows to SQLite.
    """
    steps = 0

    def work() -> None:
        nonlocal steps
        while steps < STEPS:
            time.sleep(0)
            steps += 1

    threading.Thread(target=work, daemon=True).start()
    await busy_until(lambda: steps == STEPS, BUSY_S)
    return steps


def test_a_busy_event_loop_starves_no_thread() -> None:
    let_threads_in()
    assert run_to_end(steps_of_a_thread()) == STEPS
