"""The garbage collector keeps out of the way, and comes all the same."""

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


def collections_while_there_are(new_objects: int) -> int:
    before = gc.get_stats()[0]["collections"]
    kept = [[number] for number in range(new_objects)]
    del kept
    return int(gc.get_stats()[0]["collections"]) - int(before)


def test_what_a_thousand_requests_in_hand_need_sets_off_no_collection() -> None:
    assert collections_while_there_are(15_000) == 0


def test_what_grows_beyond_that_is_looked_at() -> None:
    assert collections_while_there_are(50_000) > 0
