"""The garbage collector runs rarely, but it runs."""

import gc
from collections.abc import Iterator

import pytest

from hookline.runtime.event_loop import collect_rarely


@pytest.fixture(autouse=True)
def as_served() -> Iterator[None]:
    before = gc.get_threshold()
    gc.collect()
    collect_rarely()
    yield
    gc.set_threshold(*before)


def collections_during(new_objects: int) -> int:
    before = gc.get_stats()[0]["collections"]
    kept = [[number] for number in range(new_objects)]
    del kept
    return int(gc.get_stats()[0]["collections"]) - int(before)


def test_the_objects_of_a_thousand_requests_in_flight_trigger_no_collection() -> None:
    assert collections_during(15_000) == 0


def test_more_objects_trigger_collections() -> None:
    assert collections_during(50_000) > 0
