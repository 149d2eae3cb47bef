"""The room view: the same for any order and any repeats, and right for sequences that a person can check."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from hookline.events import (
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
)
from hookline.schemas.provider import Provider
from hookline.schemas.providers import catalogue
from hookline.sqlite.database import Database
from hookline.testing import deliver
from hookline.workers.room_log import RoomEvent
from hookline.workers.rooms import RoomView, rooms_worker, view
from hookline.workers.store import MemoryStore
from hookline.workers.stores.sqlite.room_log import SqliteRoomLog
from tests.events import START, make
from tests.vector_cases import example_source, seal_with, sent

NOW_S = 1_700_000_000.0


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


async def test_the_worker_keeps_each_event_once(tmp_path: Path) -> None:
    database = await Database.open(tmp_path / "store.db")
    log = SqliteRoomLog(database)
    event = make(ParticipantJoined, user_id="用户😀")
    for _ in range(2):
        await deliver(rooms_worker(log), event, store=MemoryStore())
    assert await log.events() == [event]
    await database.close()


async def test_of_two_versions_of_an_event_the_earlier_is_kept(tmp_path: Path) -> None:
    database = await Database.open(tmp_path / "store.db")
    log, store = SqliteRoomLog(database), MemoryStore()
    for at_s in (60, 0, 30):  # a re-send overtook the first sending
        await deliver(rooms_worker(log), make(RecordingStarted, at_s=at_s, task_id="t"), store=store)
    assert [event.occurred_at for event in await log.events()] == [START]
    await database.close()


async def test_calls_are_handled_but_belong_to_no_room(tmp_path: Path) -> None:
    database = await Database.open(tmp_path / "store.db")
    log = SqliteRoomLog(database)
    await deliver(rooms_worker(log), make(CallStarted, caller_id="a"))
    assert await log.events() == []
    await database.close()


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


@given(histories=st.tuples(*(STEPS for _ in catalogue())), seed=st.integers())
def test_any_order_and_any_repeats_of_the_same_events_give_the_same_view(
    histories: tuple[list[tuple[int, int, int]], ...], seed: int
) -> None:
    pairs = zip(catalogue().values(), histories, strict=True)
    events = [event for provider, steps in pairs for event in history_events(provider, steps)]
    chance = random.Random(seed)  # noqa: S311  hypothesis chose it
    shuffled = events + [event for event in events if chance.random() < 0.5]
    chance.shuffle(shuffled)
    assert view(shuffled) == view(events)


@given(STEPS)
def test_only_users_who_joined_are_inside_and_each_once(steps: list[tuple[int, int, int]]) -> None:
    events = history_events(catalogue()["krtc"], steps)
    joined = {(event.room_id, event.user_id) for event in events if isinstance(event, ParticipantJoined)}
    for room in view(events):
        inside = [(room.room_id, session.user_id) for session in room.inside]
        assert len(set(inside)) == len(inside)
        assert set(inside) <= joined


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
