"""One worker gets the right durations from the stories of all providers."""

import importlib.util
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import pytest

from hookline.events import ParticipantJoined, ParticipantLeft, RoomEnded, event_topic
from hookline.schemas.events import Event
from hookline.schemas.provider import Provider
from hookline.schemas.providers import catalogue
from hookline.testing import Done, MemoryStore, deliver
from tests.docs.pages import ROOT
from tests.events import make
from tests.vector_cases import example_source, seal_request, sent

START_S, STEP_S = 1_700_000_000.0, 60
COMES_AND_GOES = {"participant.joined", "participant.left"}
Durations = dict[tuple[str, str, str], float]


@pytest.fixture
def example(tmp_path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("durations", ROOT / "docs" / "examples" / "durations.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.FILE = tmp_path / "durations.db"  # type: ignore[attr-defined]  # the module is loaded by its path
    return module


def story(provider: Provider[Any], n: int = 1) -> list[Event]:
    """The events of a provider's samples, a minute apart, each signed, verified and normalised."""
    source, events = example_source(provider), list[Event]()
    for place, sample in enumerate(provider.samples):
        at_s = START_S + STEP_S * place
        request = sent(provider.sign(msgspec.json.encode(sample.body(n, at_s)), source, at_s))
        provider.verify(request, source, at_s)
        events += provider.normalise(seal_request(provider, request, at_s))
    return sorted(events, key=lambda event: event.occurred_at)


async def told(example: ModuleType, events: Sequence[Any], *, twice: bool = False) -> Durations:
    """What the worker has noted after these events."""
    store = MemoryStore()
    for event in events:
        if event_topic(event) in {*COMES_AND_GOES, "room.ended"}:
            for _ in range(2 if twice else 1):
                assert isinstance(await deliver(example.attendance, event, store=None if twice else store), Done)
    with closing(sqlite3.connect(example.FILE)) as database:
        database.execute(example.TABLE)
        rows = database.execute(
            "SELECT source, room, person, sum(left_at - joined_at) FROM stays "
            "WHERE left_at IS NOT NULL GROUP BY source, room, person"
        )
        return {(source, room, person): round(total, 3) for source, room, person, total in rows}


def expected(events: Sequence[Event]) -> Durations:
    """Each join paired with the next leave of its connection, or else with the end of its room.

    A join of somebody who is inside with the same connection is told twice, and begins nothing.
    """
    found: Durations = {}
    ends: dict[tuple[str, ...], float] = {}
    for place, event in enumerate(events):
        if isinstance(event, ParticipantJoined) and event.kind != "robot":
            who = (event.source, event.room_id, event.user_id)
            at_s, stay = event.occurred_at.timestamp(), (*who, event.connection_id or "")
            end = next((later for later in events[place + 1 :] if _ends(event, later)), None)
            if end is not None and at_s >= ends.get(stay, 0):
                ends[stay] = end.occurred_at.timestamp()
                found[who] = round(found.get(who, 0) + ends[stay] - at_s, 3)
    return found


def _ends(join: ParticipantJoined, event: Event) -> bool:
    if isinstance(event, RoomEnded):
        return event.room_id == join.room_id
    return (
        isinstance(event, ParticipantLeft)
        and (event.room_id, event.user_id) == (join.room_id, join.user_id)
        and (event.connection_id == join.connection_id or None in (event.connection_id, join.connection_id))
    )


def tells_stays(provider: Provider[Any]) -> bool:
    topics = {event_topic(event) for event in story(provider)}
    return topics >= COMES_AND_GOES


@pytest.mark.parametrize("name", catalogue())
async def test_a_providers_story_gives_the_durations_that_it_tells(name: str, example: ModuleType) -> None:
    provider = catalogue()[name]
    events = story(provider)
    durations = await told(example, events)
    if tells_stays(provider):
        assert durations == expected(events)
        assert all(seconds >= STEP_S for seconds in durations.values())
        assert durations
    else:
        assert durations == {}


async def test_the_stories_of_all_providers_do_not_disturb_each_other(example: ModuleType) -> None:
    stories = [story(provider) for provider in catalogue().values()]
    assert sum(map(tells_stays, catalogue().values())) >= 4
    together = sorted((event for events in stories for event in events), key=lambda event: event.occurred_at)
    alone = {who: seconds for events in stories for who, seconds in expected(events).items()}
    assert await told(example, together) == alone


@pytest.mark.parametrize("name", catalogue())
async def test_repeats_change_nothing(name: str, example: ModuleType) -> None:
    """Even if nobody remembers what was handled."""
    provider = catalogue()[name]
    if tells_stays(provider):
        events = story(provider)
        assert await told(example, events, twice=True) == expected(events)


def joined(at_s: float, connection: str | None, **fields: Any) -> ParticipantJoined:
    return make(ParticipantJoined, f"j{connection}{at_s}", at_s=at_s, user_id="u", connection_id=connection, **fields)


def left(at_s: float, connection: str | None, **fields: Any) -> ParticipantLeft:
    return make(ParticipantLeft, f"l{connection}{at_s}", at_s=at_s, user_id="u", connection_id=connection, **fields)


@pytest.mark.parametrize(
    ("events", "seconds"),
    [
        pytest.param([joined(0, "a"), joined(50, "b"), left(51, "a"), left(90, "b")], 51 + 40, id="a quick re-join"),
        pytest.param([joined(0, None), left(20, "a"), joined(30, "b")], 20, id="a join without a connection"),
        pytest.param([left(20, "a", duration_s=15)], 15, id="only a leave"),
        pytest.param([joined(0, "a"), make(RoomEnded, at_s=9)], 9, id="the end of the room"),
        pytest.param([joined(0, "a"), make(RoomEnded, at_s=9), left(11, "a", duration_s=11)], 9, id="a late leave"),
        pytest.param([joined(0, "a", kind="robot"), left(20, "a", kind="robot")], 0, id="a recorder"),
    ],
)
async def test_difficult_stays(example: ModuleType, events: list[Any], seconds: float) -> None:
    assert sum((await told(example, events)).values()) == seconds
