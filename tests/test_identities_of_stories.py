"""The identity of an event, over generated stories and times: what an attempt renews is not a part of it."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hookline.schemas.provider import Outgoing, Provider
from hookline.schemas.providers import catalogue
from tests.vector_cases import example_source, seal_request, sent

STORIES = st.integers(1, 10**15)
TIMES = st.integers(1_500_000_000, 1_900_000_000)
DELAYS = st.integers(1, 5000)
unhurried = settings(deadline=None, max_examples=4)
every_provider = pytest.mark.parametrize("name", catalogue())


def signed(provider: Provider[Any], body: Any, sent_at_s: float) -> Outgoing:
    return provider.sign(msgspec.json.encode(body), example_source(provider), sent_at_s)


def event_id(provider: Provider[Any], outgoing: Outgoing, sent_at_s: float) -> str:
    return seal_request(provider, sent(outgoing), sent_at_s).id


@every_provider
@unhurried
@given(n=STORIES, at_s=TIMES, delay_s=DELAYS)
def test_an_event_that_is_sent_again_later_has_the_same_id(name: str, n: int, at_s: int, delay_s: int) -> None:
    """Where the signed time is in the body, it may be the event's own: then a re-send repeats it."""
    provider = catalogue()[name]
    for sample in provider.samples:
        body = sample.body(n, at_s)
        first, later = signed(provider, body, at_s), signed(provider, body, at_s + delay_s)
        if first.body == later.body:
            assert event_id(provider, first, at_s) == event_id(provider, later, at_s + delay_s)


@every_provider
@unhurried
@given(n=STORIES, at_s=TIMES, delay_s=DELAYS)
def test_events_of_other_stories_and_types_have_other_ids(name: str, n: int, at_s: int, delay_s: int) -> None:
    provider = catalogue()[name]
    bodies = [
        sample.body(story, time) for sample in provider.samples for story, time in ((n, at_s), (n + 1, at_s + delay_s))
    ]
    ids = [event_id(provider, signed(provider, body, at_s), at_s) for body in bodies]
    assert len(set(ids)) == len(ids)
