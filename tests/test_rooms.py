"""The room view: the same for any order and any repeats, and right for sequences that a person can check."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hookline.events import (
    EVENT_TYPES,
    CallStarted,
    ParticipantJoined,
    ParticipantLeft,
    ParticipantRoleChanged,
    RecordingCompleted,
    RecordingStarted,
    RecordingUploaded,
    RoomCreated,
    RoomEnded,
    RoomUpdated,
    Seat,
    SeatsChanged,
    Unknown,
)
from hookline.schemas.provider import Provider
from hookline.schemas.providers import catalogue
from hookline.sqlite.database import Database
from hookline.testing import deliver
from hookline.workers.event_log import EventLog, Query
from hookline.workers.rooms import RoomEvent, RoomView, latest_rooms, rooms_named, rooms_worker, view
from hookline.workers.sessions import Session
from hookline.workers.store import MemoryStore
from hookline.workers.stores.sqlite.event_log import SqliteEventStorage
from tests.events import START, make
from tests.vector_cases import example_source, seal_with, sent

NOW_S = 1_700_000_000.0
unhurried = settings(deadline=None)
"""A busy machine may take its time for an example."""


def only(events: Sequence[RoomEvent]) -> RoomView:
    (room,) = view(events)
    return room


def test_a_user_who_joined_is_inside() -> None:
    room = only([make(RoomCreated), make(ParticipantJoined, "j", at_s=5, user_id="u", role="host", platform="ios")])
    (session,) = room.inside
    assert room.open
    assert (session.user_id, session.role, session.platform) == ("u", "host", "ios")
    assert session.joined_at is not None
    assert (session.joined_at - START).total_seconds() == 5


def test_a_user_who_left_has_a_past_session_with_its_duration() -> None:
    room = only(
        [
            make(ParticipantJoined, "j", user_id="u"),
            make(ParticipantLeft, "l", at_s=90, user_id="u", reason="disconnected"),
        ]
    )
    (session,) = room.sessions
    assert room.inside == ()
    assert (session.duration_s, session.reason) == (90, "disconnected")


def test_a_user_who_came_back_has_two_sessions() -> None:
    room = only(
        [
            make(ParticipantJoined, "j1", at_s=0, user_id="u"),
            make(ParticipantLeft, "l1", at_s=10, user_id="u"),
            make(ParticipantJoined, "j2", at_s=20, user_id="u"),
        ]
    )
    assert len(room.inside) == len(room.sessions) == 1


def test_a_user_who_leaves_and_comes_back_within_one_second_is_inside() -> None:
    room = only(
        [
            make(ParticipantJoined, "j1", at_s=0, user_id="u"),
            make(ParticipantLeft, "l1", at_s=10, user_id="u"),
            make(ParticipantJoined, "j2", at_s=10, user_id="u"),
        ]
    )
    assert [session.user_id for session in room.inside] == ["u"]


def test_a_user_who_comes_and_leaves_within_one_second_is_not_inside() -> None:
    room = only([make(ParticipantJoined, "j", user_id="u"), make(ParticipantLeft, "l", user_id="u")])
    assert room.inside == ()
    assert [session.duration_s for session in room.sessions] == [0]


def test_a_leave_without_a_join_computes_the_join_from_the_duration() -> None:
    room = only([make(ParticipantLeft, at_s=100, user_id="u", duration_s=60)])
    (session,) = room.sessions
    assert session.joined_at is not None
    assert (session.joined_at - START).total_seconds() == 40


def test_a_repeated_join_counts_from_the_first() -> None:
    room = only(
        [make(ParticipantJoined, "j1", at_s=1, user_id="u"), make(ParticipantJoined, "j2", at_s=9, user_id="u")]
    )
    (session,) = room.inside
    assert session.joined_at is not None
    assert (session.joined_at - START).total_seconds() == 1


def test_a_role_change_sets_the_role() -> None:
    room = only(
        [
            make(ParticipantJoined, "j", user_id="u", role="audience"),
            make(ParticipantRoleChanged, "r", at_s=1, user_id="u", role="host"),
        ]
    )
    assert [session.role for session in room.inside] == ["host"]


def test_the_end_of_a_room_ends_every_session() -> None:
    room = only([make(ParticipantJoined, "j", user_id="u"), make(RoomEnded, "e", at_s=30)])
    assert not room.open
    assert [(session.reason, session.duration_s) for session in room.sessions] == [("room_ended", 30)]


def test_a_room_that_is_created_again_is_open_again() -> None:
    room = only([make(RoomCreated, "c1"), make(RoomEnded, "e", at_s=5), make(RoomCreated, "c2", at_s=5)])
    assert room.open
    assert room.ended_at is None


def test_a_room_has_its_latest_name() -> None:
    room = only(
        [
            make(RoomUpdated, "u2", at_s=9, name="new"),
            make(RoomCreated, "c", name="old", owner_id="o"),
            make(RoomUpdated, "u3", at_s=20),
        ]
    )
    assert (room.name, room.owner_id) == ("new", "o")


def test_seats_are_as_in_the_latest_event() -> None:
    taken, free = Seat(index=1, user_id="u"), Seat(index=1)
    room = only([make(SeatsChanged, "s2", at_s=2, seats=(free,)), make(SeatsChanged, "s1", at_s=1, seats=(taken,))])
    assert room.seats == (free,)


def test_a_recording_has_its_furthest_state_in_any_order_of_arrival() -> None:
    task: dict[str, Any] = {"task_id": "446946705284000000", "user_id": "9", "segment": 0}
    room = only(
        [
            make(RecordingUploaded, "3", at_s=1, file_name="a.mp3", **task),
            make(RecordingStarted, "1", at_s=3, **task),
            make(RecordingCompleted, "2", at_s=2, **task),
        ]
    )
    (recording,) = room.recordings
    assert (recording.state, recording.task_id, recording.file_name) == ("uploaded", "446946705284000000", "a.mp3")


def test_each_file_of_a_task_is_a_recording() -> None:
    room = only([make(RecordingStarted, str(n), task_id="t", segment=n) for n in range(12)])
    assert [recording.segment for recording in room.recordings] == list(range(12))


def test_rooms_of_two_sources_with_one_name_are_two_rooms() -> None:
    assert len(view([make(RoomCreated, "a"), make(RoomCreated, "b", source="other")])) == 2


def test_absurd_durations_and_times_do_no_harm() -> None:
    far = make(ParticipantLeft, user_id="u", duration_s=2**62)
    assert [session.joined_at for session in only([far]).sessions] == [None]


def joined(at_s: float, user: str = "u", **fields: Any) -> ParticipantJoined:
    return make(ParticipantJoined, f"joined {user} {at_s}", at_s=at_s, user_id=user, **fields)


def left(at_s: float, user: str = "u", **fields: Any) -> ParticipantLeft:
    return make(ParticipantLeft, f"left {user} {at_s}", at_s=at_s, user_id=user, **{"reason": "left", **fields})


def created(at_s: float = 0) -> RoomCreated:
    return make(RoomCreated, f"created {at_s}", at_s=at_s)


def ended(at_s: float) -> RoomEnded:
    return make(RoomEnded, f"ended {at_s}", at_s=at_s)


def role_changed(at_s: float, user: str = "u") -> ParticipantRoleChanged:
    return make(ParticipantRoleChanged, f"role {user} {at_s}", at_s=at_s, user_id=user, role="host")


def seated(at_s: float, user: str | None = "u") -> SeatsChanged:
    return make(SeatsChanged, f"seat {user} {at_s}", at_s=at_s, seats=(Seat(index=1, user_id=user),))


def stays(sessions: Sequence[Session]) -> list[tuple[float | None, float | None, str | None]]:
    """From when until when each session lasted, in seconds after START, and why it ended."""

    def second(time: datetime | None) -> float | None:
        return None if time is None else (time - START).total_seconds()

    return [(second(session.joined_at), second(session.left_at), session.reason) for session in sessions]


@pytest.mark.parametrize(
    ("events", "past", "inside"),
    [
        pytest.param([left(60, duration_s=60)], [(0, 60, "left")], [(50, None, None)], id="the first ends first"),
        pytest.param([left(60, duration_s=10)], [(50, 60, "left")], [(0, None, None)], id="the second ends first"),
        pytest.param(
            [left(60, duration_s=60), left(90, duration_s=40)],
            [(0, 60, "left"), (50, 90, "left")],
            [],
            id="both end, the first first",
        ),
        pytest.param(
            [left(60, duration_s=10), left(90, duration_s=90)],
            [(0, 90, "left"), (50, 60, "left")],
            [],
            id="both end, the second first",
        ),
        pytest.param(
            [left(60, duration_s=61)], [(0, 60, "left")], [(50, None, None)], id="a duration that was rounded"
        ),
        pytest.param(
            [left(50, duration_s=50)], [(0, 50, "left")], [(50, None, None)], id="one begins as the other ends"
        ),
        pytest.param([left(50, duration_s=0)], [(50, 50, "left")], [(0, None, None)], id="the second lasts no second"),
        pytest.param([left(60)], [(0, 60, "left")], [], id="a leave that names none ends all as one"),
        pytest.param([left(60, duration_s=30)], [(0, 60, "left")], [], id="so does one that names an unknown one"),
        pytest.param([left(60, duration_s=2**70)], [(0, 60, "left")], [], id="so does one with an absurd duration"),
        pytest.param(
            [left(60, duration_s=60), left(61, duration_s=61)],
            [(0, 60, "left")],
            [(50, None, None)],
            id="a second leave of the first adds none",
        ),
        pytest.param([ended(60)], [(0, 60, "room_ended")], [], id="the end of the room ends both as one"),
        pytest.param(
            [ended(60), left(61, duration_s=61)], [(0, 60, "room_ended")], [], id="a leave after that adds none"
        ),
    ],
)
def test_of_two_overlapping_sessions_a_leave_ends_the_one_that_its_duration_names(
    events: list[RoomEvent], past: list[Any], inside: list[Any]
) -> None:
    room = only([joined(0), joined(50), *events])
    assert (stays(room.sessions), stays(room.inside)) == (past, inside)


def test_a_join_that_was_told_twice_is_one_session() -> None:
    room = only([joined(0), joined(1), left(60, duration_s=60)])
    assert (stays(room.sessions), stays(room.inside)) == ([(0, 60, "left")], [])


@pytest.mark.parametrize(
    ("events", "past"),
    [
        pytest.param([joined(0), ended(60), left(61)], [(0, 60, "room_ended")], id="a second after the end"),
        pytest.param([joined(0), ended(60), left(200)], [(0, 60, "room_ended")], id="long after the end"),
        pytest.param([joined(0), ended(60), left(61, duration_s=61)], [(0, 60, "room_ended")], id="with its duration"),
        pytest.param([joined(0), ended(60), left(60)], [(0, 60, "left")], id="at the same time"),
        pytest.param([joined(0), left(60), left(61)], [(0, 60, "left")], id="after another leave"),
        pytest.param(
            [seated(30), ended(60), left(61, duration_s=61)],
            [(0, 60, "room_ended")],
            id="its duration says when the session began",
        ),
        pytest.param(
            [joined(0), ended(60), left(61), left(300)],
            [(None, 300, "left"), (0, 60, "room_ended")],
            id="but another leave is of another session",
        ),
        pytest.param(
            [joined(0), ended(60), left(300, duration_s=100)],
            [(0, 60, "room_ended"), (200, 300, "left")],
            id="and so is one that began later",
        ),
    ],
)
def test_a_leave_after_the_end_adds_no_session(events: list[RoomEvent], past: list[Any]) -> None:
    room = only([created(), *events])
    assert stays(room.sessions) == past
    assert room.inside == ()


def test_a_leave_of_a_session_before_the_end_does_not_end_the_one_after_it() -> None:
    room = only([joined(0), ended(60), created(70), joined(80), left(90, duration_s=90)])
    assert stays(room.sessions) == [(0, 60, "room_ended")]
    assert stays(room.inside) == [(80, None, None)]


def test_of_a_room_whose_end_never_came_nobody_is_inside_the_next_one() -> None:
    room = only([created(), joined(1, "a"), seated(2, "b"), created(100), joined(101, "c")])
    assert [session.user_id for session in room.inside] == ["c"]
    assert stays(room.sessions) == [(None, 100, "room_recreated"), (1, 100, "room_recreated")]
    assert room.seats == ()
    assert room.open


@pytest.mark.parametrize(
    "more", [[left(99)], [left(101)], [left(110, duration_s=109)]], ids=["before", "after", "named"]
)
def test_a_leave_of_a_room_that_was_created_again_adds_no_session(more: list[RoomEvent]) -> None:
    room = only([created(), joined(1), created(100), joined(105, "another"), *more])
    assert len(room.sessions) == 1
    assert [session.user_id for session in room.inside] == ["another"]


def test_someone_who_comes_back_as_the_room_is_created_again_is_inside() -> None:
    room = only([created(), joined(1), created(100), joined(100)])
    assert stays(room.inside) == [(100, None, None)]
    assert stays(room.sessions) == [(1, 100, "room_recreated")]


@pytest.mark.parametrize(("gap_s", "inside"), [(3, ["u"]), (60, [])], ids=["just before", "long before"])
def test_a_join_just_before_the_creation_belongs_to_the_room(gap_s: int, inside: list[str]) -> None:
    room = only([joined(0), created(gap_s)])
    assert [session.user_id for session in room.inside] == inside


@pytest.mark.parametrize("event", [seated(5), role_changed(5)], ids=["a seat", "a role"])
def test_someone_with_a_seat_or_a_role_is_inside(event: RoomEvent) -> None:
    room = only([event])
    assert room.open
    assert stays(room.inside) == [(None, None, None)]
    assert stays(only([event, left(20)]).sessions) == [(None, 20, "left")]
    assert stays(only([event, joined(6)]).inside) == [(6, None, None)]
    assert stays(only([joined(1), event]).inside) == [(1, None, None)]


@pytest.mark.parametrize(("at_s", "count"), [(20, 0), (25, 0), (26, 1)])
@pytest.mark.parametrize("event", [seated, role_changed], ids=["a seat", "a role"])
def test_a_seat_or_a_role_just_after_an_end_brings_nobody_back(
    event: Callable[[float], RoomEvent], at_s: float, count: int
) -> None:
    assert len(only([joined(0), left(20), event(at_s)]).inside) == count
    room = only([created(), joined(0), ended(20), event(at_s)])
    assert (room.open, len(room.inside)) == (bool(count), count)


def test_a_second_end_does_not_move_the_first() -> None:
    room = only([created(), ended(60), ended(90)])
    assert room.ended_at == START + timedelta(seconds=60)


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[EventLog]:
    database = await Database.open(tmp_path / "store.db")
    yield EventLog(await SqliteEventStorage.open(database))
    await database.close()


async def test_the_worker_keeps_each_event_once(log: EventLog) -> None:
    event = make(ParticipantJoined, user_id="用户😀")
    for _ in range(2):
        await deliver(rooms_worker(log), event, store=MemoryStore())
    assert (await log.search(Query())).events == [event]


async def test_of_two_versions_of_an_event_the_earlier_is_kept(log: EventLog) -> None:
    store = MemoryStore()
    for at_s in (60, 0, 30):  # a re-send overtook the first sending
        await deliver(rooms_worker(log), make(RecordingStarted, at_s=at_s, task_id="t"), store=store)
    assert [event.occurred_at for event in (await log.search(Query())).events] == [START]


async def test_calls_are_kept_but_belong_to_no_room(log: EventLog) -> None:
    await deliver(rooms_worker(log), make(CallStarted, caller_id="a"))
    assert [event.id for event in (await log.search(Query(user_id="a"))).events] == ["event"]
    assert await latest_rooms(log, 10) == []


def test_the_worker_takes_every_event_that_is_not_unknown(log: EventLog) -> None:
    assert set(rooms_worker(log).events) == set(EVENT_TYPES.values()) - {Unknown}


async def test_the_latest_rooms_are_read_latest_first_and_no_more(log: EventLog) -> None:
    for number in range(5):
        await log.append(make(RoomCreated, str(number), at_s=number, room_id=f"room {number}"))
    assert [room.room_id for room in await latest_rooms(log, 3)] == ["room 4", "room 3", "room 2"]


async def test_the_rooms_of_one_name_are_read_from_all_sources(log: EventLog) -> None:
    await log.append(make(RoomCreated, "a"))
    await log.append(make(RoomCreated, "b", source="other"))
    await log.append(make(RoomCreated, "c", room_id="another"))
    assert [room.source for room in await rooms_named(log, "room")] == ["krtc-main", "other"]


async def append_all(log: EventLog, events: Sequence[RoomEvent]) -> None:
    await asyncio.gather(*map(log.append, events))


# Histories: callbacks of every provider in any numbers, rooms and seconds, sent, verified, sealed and normalised.


def history_events(provider: Provider[Any], steps: Sequence[tuple[int, int, int]]) -> list[RoomEvent]:
    source = example_source(provider)
    events: list[RoomEvent] = []
    for place, room, second in steps:
        sample = provider.samples[place % len(provider.samples)]
        at_s = NOW_S + second
        signed = provider.sign(msgspec.json.encode(sample.body(room, at_s)), source, at_s)
        request = sent(signed)
        provider.verify(request, source, at_s)
        made = provider.normalise(seal_with(provider, request.body, at_s))
        events += [event for event in made if isinstance(event, RoomEvent)]
    return events


STEPS = st.lists(st.tuples(st.integers(0, 20), st.integers(1, 2), st.integers(0, 8)), max_size=25)


@unhurried
@given(histories=st.tuples(*(STEPS for _ in catalogue())), seed=st.integers())
def test_any_order_and_any_repeats_of_the_same_events_give_the_same_view(
    histories: tuple[list[tuple[int, int, int]], ...], seed: int
) -> None:
    pairs = zip(catalogue().values(), histories, strict=True)
    events = [event for provider, steps in pairs for event in history_events(provider, steps)]
    assert view(shuffled(events, seed)) == view(events)


STORIES = st.lists(
    st.one_of(
        st.builds(created, st.integers(0, 9)),
        st.builds(ended, st.integers(0, 9)),
        st.builds(joined, st.integers(0, 9), st.sampled_from("ab"), role=st.sampled_from(["host", None])),
        st.builds(left, st.integers(0, 9), st.sampled_from("ab"), duration_s=st.one_of(st.none(), st.integers(0, 9))),
        st.builds(role_changed, st.integers(0, 9), st.sampled_from("ab")),
        st.builds(seated, st.integers(0, 9), st.sampled_from(["a", "b", None])),
    ),
    max_size=30,
)
"""Several sessions of one room, with everything in it that can overlap, be missing or come late."""


@unhurried
@given(STORIES, st.integers())
def test_several_sessions_of_a_room_give_the_same_view_in_any_order(events: list[RoomEvent], seed: int) -> None:
    """Events of one id here are versions that differ in a duration or a role."""
    assert view(shuffled(events, seed)) == view(events)


@unhurried
@given(STORIES)
def test_nobody_is_inside_a_room_that_ended_or_inside_twice(events: list[RoomEvent]) -> None:
    for room in view(events):
        inside = [session.user_id for session in room.inside]
        assert len(set(inside)) == len(inside)
        assert room.open or not inside
        for session in room.sessions:
            assert session.joined_at is None or session.left_at is None or session.joined_at <= session.left_at


@settings(unhurried, max_examples=25)
@given(histories=st.tuples(*(STEPS for _ in catalogue())), seed=st.integers())
def test_any_order_and_any_repeats_of_deliveries_end_in_the_same_log(
    histories: tuple[list[tuple[int, int, int]], ...], seed: int
) -> None:
    pairs = zip(catalogue().values(), histories, strict=True)
    events = [event for provider, steps in pairs for event in history_events(provider, steps)]

    async def kept(delivered: Sequence[RoomEvent]) -> Any:
        with TemporaryDirectory() as folder:
            database = await Database.open(Path(folder) / "store.db")
            log = EventLog(await SqliteEventStorage.open(database))
            for first in range(0, len(delivered), 7):
                await append_all(log, delivered[first : first + 7])
            found = (await log.search(Query(), limit=1000)).events, (await log.rooms()).places
            views = {place: view(await log.room(place)) for place in found[1]}
            await database.close()
        return found[0], set(found[1]), views

    in_order, mixed = asyncio.run(kept(events)), asyncio.run(kept(shuffled(events, seed)))
    assert mixed == in_order
    assert in_order[0] == sorted(in_order[0], key=lambda event: (event.occurred_at, event.id), reverse=True)


def shuffled(events: Sequence[RoomEvent], seed: int) -> list[RoomEvent]:
    """All events in another order, half of them twice."""
    chance = random.Random(seed)  # noqa: S311  hypothesis chose it
    mixed = [*events, *(event for event in events if chance.random() < 0.5)]
    chance.shuffle(mixed)
    return mixed


@unhurried
@given(STEPS)
def test_only_users_who_joined_or_got_a_role_are_inside_and_each_once(steps: list[tuple[int, int, int]]) -> None:
    events = history_events(catalogue()["krtc"], steps)
    here = (ParticipantJoined, ParticipantRoleChanged)
    known = {(event.room_id, event.user_id) for event in events if isinstance(event, here)}
    for room in view(events):
        inside = [(room.room_id, session.user_id) for session in room.inside]
        assert len(set(inside)) == len(inside)
        assert set(inside) <= known


@unhurried
@given(st.lists(st.tuples(st.sampled_from(["join", "leave"]), st.sampled_from("ab")), max_size=20), st.integers())
def test_events_with_distinct_times_give_the_state_of_applying_them_in_order(
    steps: list[tuple[str, str]], seed: int
) -> None:
    events: list[RoomEvent] = []
    inside: dict[str, int] = {}
    for at_s, (what, user) in enumerate(steps):
        if what == "join":
            inside.setdefault(user, at_s)
            events.append(make(ParticipantJoined, str(at_s), at_s=at_s, user_id=user))
        else:
            inside.pop(user, None)
            events.append(make(ParticipantLeft, str(at_s), at_s=at_s, user_id=user))
    random.Random(seed).shuffle(events)  # noqa: S311  hypothesis chose it
    rooms = view(events)
    seen = {
        session.user_id: (session.joined_at - START).total_seconds()
        for room in rooms
        for session in room.inside
        if session.joined_at
    }
    assert seen == inside
