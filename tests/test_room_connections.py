"""The room view of providers that tell connections, lives of a room, robots, waiting rooms and recordings apart."""

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hookline.events import (
    ParticipantJoined,
    ParticipantLeft,
    ParticipantRoleChanged,
    ParticipantWaiting,
    ParticipantWaitingEnded,
    RecordingCompleted,
    RecordingFailed,
    RecordingPaused,
    RecordingResumed,
    RecordingStarted,
    RecordingUploaded,
    RoomCreated,
    RoomEnded,
    RoomUpdated,
)
from hookline.workers.rooms import RoomEvent, RoomView, view
from tests.events import START, make

Stays = list[tuple[str, float | None, float | None, str | None]]


def only(*events: RoomEvent) -> RoomView:
    (room,) = view(events)
    return room


def joined(at_s: float, connection: str | None, user: str = "u", life: str | None = None, **fields: Any) -> RoomEvent:
    about = {"connection_id": connection, "session_id": life, **fields}
    return make(ParticipantJoined, f"joined {user} {connection} {life} {at_s}", at_s=at_s, user_id=user, **about)


def left(at_s: float, connection: str | None, user: str = "u", life: str | None = None, **fields: Any) -> RoomEvent:
    about = {"connection_id": connection, "session_id": life, "reason": "left", **fields}
    return make(ParticipantLeft, f"left {user} {connection} {life} {at_s}", at_s=at_s, user_id=user, **about)


def created(at_s: float, life: str | None = None) -> RoomEvent:
    return make(RoomCreated, f"created {life} {at_s}", at_s=at_s, session_id=life)


def ended(at_s: float, life: str | None = None) -> RoomEvent:
    return make(RoomEnded, f"ended {life} {at_s}", at_s=at_s, session_id=life)


def waits(at_s: float, connection: str | None = None, **fields: Any) -> RoomEvent:
    return make(
        ParticipantWaiting, f"waits {connection} {fields} {at_s}", at_s=at_s, connection_id=connection, **fields
    )


def waited(at_s: float, connection: str | None = None, **fields: Any) -> RoomEvent:
    about = {"connection_id": connection, **fields}
    return make(ParticipantWaitingEnded, f"waited {connection} {fields} {at_s}", at_s=at_s, **about)


def stays(room: RoomView) -> Stays:
    def second(time: Any) -> float | None:
        return None if time is None else (time - START).total_seconds()

    sessions = (*room.sessions, *room.inside)
    return [(one.connection_id or "", second(one.joined_at), second(one.left_at), one.reason) for one in sessions]


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        pytest.param(
            [joined(0, "a"), joined(50, "b"), left(51, "a")],
            [("a", 0, 51, "left"), ("b", 50, None, None)],
            id="the first connection is lost after the second has come",
        ),
        pytest.param(
            [joined(0, "a"), left(50, "a"), joined(50, "b")],
            [("a", 0, 50, "left"), ("b", 50, None, None)],
            id="both in one second",
        ),
        pytest.param(
            [joined(0, "a"), joined(50, "b"), left(50, "b")],
            [("b", 50, 50, "left"), ("a", 0, None, None)],
            id="the second comes and goes in one second",
        ),
        pytest.param(
            [joined(0, "a"), joined(50, "b"), left(60, "b"), left(70, "a")],
            [("a", 0, 70, "left"), ("b", 50, 60, "left")],
            id="two devices",
        ),
        pytest.param(
            [joined(50, "b"), left(51, "a")],
            [("a", None, 51, "left"), ("b", 50, None, None)],
            id="a leave of a connection whose join never came",
        ),
        pytest.param(
            [joined(50, "b"), left(51, "a", duration_s=51)],
            [("a", 0, 51, "left"), ("b", 50, None, None)],
            id="and whose duration says when it began",
        ),
        pytest.param(
            [joined(0, "a"), left(20, "a"), left(300, "a")], [("a", 0, 20, "left")], id="a leave that is told twice"
        ),
        pytest.param(
            [joined(0, "a"), joined(9, "a"), left(20, "a")], [("a", 0, 20, "left")], id="a join that is told twice"
        ),
        pytest.param(
            [joined(0, "a"), left(20, "a"), joined(30, "a"), left(40, "a")],
            [("a", 0, 20, "left"), ("a", 30, 40, "left")],
            id="a connection that is used again",
        ),
        pytest.param(
            [joined(0, "a"), left(20, "a"), left(40, "a", duration_s=10)],
            [("a", 0, 20, "left"), ("a", 30, 40, "left")],
            id="a connection that is used again, without its join",
        ),
        pytest.param([joined(0, None), left(20, "a")], [("a", 0, 20, "left")], id="a join that names no connection"),
        pytest.param([joined(0, "a"), left(20, None)], [("a", 0, 20, "left")], id="a leave that names no connection"),
        pytest.param(
            [joined(0, "a"), ended(20), left(21, "a")], [("a", 0, 20, "room_ended")], id="a leave after the end"
        ),
        pytest.param(
            [joined(0, "a"), ended(20), created(30), joined(31, "b"), left(32, "a")],
            [("a", 0, 20, "room_ended"), ("b", 31, None, None)],
            id="a leave after the next beginning",
        ),
    ],
)
def test_a_leave_ends_the_connection_that_it_names(events: list[RoomEvent], expected: Stays) -> None:
    assert stays(only(*events)) == expected
    assert stays(only(*reversed(events))) == expected


def test_twenty_connections_of_one_user_end_one_by_one() -> None:
    joins = [joined(number, str(number)) for number in range(20)]
    leaves = [left(100 + number, str(number)) for number in range(19)]
    room = only(*joins, *leaves)
    assert [session.connection_id for session in room.inside] == ["19"]
    assert [session.duration_s for session in room.sessions] == [100] * 19


def test_a_role_belongs_to_its_connection() -> None:
    change = make(ParticipantRoleChanged, at_s=2, user_id="u", connection_id="a", role="host", role_name="stage")
    room = only(joined(0, "a"), joined(1, "b"), change, left(3, "b"))
    assert [(session.role, session.role_name) for session in room.inside] == [("host", "stage")]


def test_robots_are_marked() -> None:
    events = [joined(0, "a"), joined(1, "b", "recorder", kind="robot"), left(9, "c", "caller", kind="phone")]
    room = only(*events)
    assert {session.user_id: session.kind for session in (*room.inside, *room.sessions)} == {
        "u": None,
        "recorder": "robot",
        "caller": "phone",
    }


def test_the_name_of_a_participant_is_known() -> None:
    (session,) = only(joined(0, "a", display_name="Ann")).inside
    assert session.display_name == "Ann"


@pytest.mark.parametrize(
    ("events", "expected", "life", "is_open"),
    [
        pytest.param(
            [joined(0, "a", life="1"), ended(20, "1"), joined(30, "b", life="2"), left(31, "a", life="1")],
            [("a", 0, 20, "room_ended"), ("b", 30, None, None)],
            "2",
            True,
            id="a late leave of the life before",
        ),
        pytest.param(
            [joined(0, "a", life="1"), joined(30, "b", life="2"), ended(31, "1")],
            [("a", 0, 30, "room_recreated"), ("b", 30, None, None)],
            "2",
            True,
            id="a late end of the life before",
        ),
        pytest.param(
            [joined(0, "a", life="1"), ended(20, "1"), joined(21, "c", "v", life="1"), joined(30, "b", life="2")],
            [("a", 0, 20, "room_ended"), ("b", 30, None, None)],
            "2",
            True,
            id="a late join of the life before",
        ),
        pytest.param(
            [created(0, "1"), joined(1, "a", life="1"), created(30, "2"), ended(40, "2")],
            [("a", 1, 30, "room_recreated")],
            "2",
            False,
            id="an end that never came",
        ),
        pytest.param(
            [joined(0, "a", life="1"), created(20, "1"), left(30, "a", life="1")],
            [("a", 0, 30, "left")],
            "1",
            True,
            id="a creation that is told long after the first join",
        ),
        pytest.param(
            [joined(0, "a", life="1"), ended(20, "1"), created(20, "2"), joined(20, "b", life="2")],
            [("a", 0, 20, "room_ended"), ("b", 20, None, None)],
            "2",
            True,
            id="one life ends as the next begins",
        ),
        pytest.param(
            [created(20, "2"), joined(20, "b", life="2"), ended(20, "2")],
            [("b", 20, 20, "room_ended")],
            "2",
            False,
            id="a life of no second",
        ),
        pytest.param(
            [joined(0, "a"), ended(20, "1")], [("a", 0, 20, "room_ended")], "1", False, id="only the end names the life"
        ),
    ],
)
def test_the_lives_of_one_room_name_are_told_apart(
    events: list[RoomEvent], expected: Stays, life: str, *, is_open: bool
) -> None:
    for room in (only(*events), only(*reversed(events))):
        assert stays(room) == expected
        assert (room.session_id, room.open) == (life, is_open)


@pytest.mark.parametrize(
    ("events", "waiting"),
    [
        pytest.param([waits(0, "a", display_name="Ann")], ["Ann"], id="waits"),
        pytest.param([waits(0, "a"), waited(5, "a", admitted=False)], [], id="gave up"),
        pytest.param([waits(0, "a", user_id="u"), joined(5, "b")], [], id="was let in with another connection"),
        pytest.param([waits(0, "a", display_name="Ann"), joined(5, "b", "v", display_name="Ann")], [], id="by name"),
        pytest.param(
            [waits(0, "a", display_name="Ann"), waited(5, "b", display_name="Ann")], ["Ann"], id="another Ann"
        ),
        pytest.param([waits(0, "a", user_id="u"), joined(5, "b", "v")], [None], id="somebody else came in"),
        pytest.param([waits(0, "a"), waits(0, "a"), waits(1, "a")], [None], id="told twice"),
        pytest.param([waits(5, "a"), waited(5, "a")], [], id="within one second"),
        pytest.param([waits(0, "a"), waited(5, "a"), waits(5, "a")], [None], id="again within one second"),
        pytest.param([waits(0, "a"), ended(9)], [], id="the room ended"),
    ],
)
def test_who_waits_is_known(events: list[RoomEvent], waiting: list[str | None]) -> None:
    room = only(*events)
    assert [each.display_name for each in room.waiting] == waiting
    assert all(session.user_id != "" for session in room.inside)


def test_somebody_who_waits_is_not_inside_and_opens_no_room() -> None:
    room = only(waits(0, "a", user_id="u"))
    assert (room.open, room.inside, room.sessions) == (False, (), ())


def told(kind: Any, at_s: float, **fields: Any) -> RoomEvent:
    event: RoomEvent = make(kind, f"{kind.__name__} {fields} {at_s}", at_s=at_s, **fields)
    return event


@pytest.mark.parametrize(
    ("events", "files"),
    [
        pytest.param(
            [told(RecordingStarted, 0, task_id="t"), told(RecordingCompleted, 9, task_id="t")],
            [("completed", None, 0)],
            id="no file yet",
        ),
        pytest.param(
            [
                told(RecordingStarted, 0, task_id="t"),
                told(RecordingCompleted, 9, task_id="t"),
                told(RecordingUploaded, 12, task_id="t", segment=0, file_name="a"),
                told(RecordingUploaded, 12, task_id="t", segment=1, file_name="b"),
            ],
            [("uploaded", "a", 0), ("uploaded", "b", 0)],
            id="two files of one task",
        ),
        pytest.param(
            [
                told(RecordingStarted, 0, session_id="1"),
                told(RecordingUploaded, 12, session_id="1", recording_id="x", file_name="a"),
                told(RecordingUploaded, 12, session_id="1", recording_id="y", file_name="b"),
                told(RecordingStarted, 20, session_id="2"),
            ],
            [("uploaded", "a", 0), ("uploaded", "b", 0), ("started", None, 20)],
            id="a start without an id belongs to its life of the room",
        ),
        pytest.param(
            [told(RecordingStarted, 0, task_id="t"), told(RecordingFailed, 5, task_id="t", error="disk full")],
            [("failed", None, 0)],
            id="failed",
        ),
        pytest.param(
            [
                told(RecordingStarted, 0, task_id="t"),
                told(RecordingPaused, 5, task_id="t"),
                told(RecordingResumed, 7, task_id="t"),
            ],
            [("resumed", None, 0)],
            id="resumed",
        ),
        pytest.param(
            [
                told(RecordingPaused, 5, task_id="t"),
                told(RecordingResumed, 7, task_id="t"),
                told(RecordingPaused, 8, task_id="t"),
            ],
            [("paused", None, None)],
            id="paused again",
        ),
        pytest.param(
            [told(RecordingUploaded, 9, task_id="t", file_name="a", started_at=START)],
            [("uploaded", "a", 0)],
            id="only the file says when it began",
        ),
        pytest.param(
            [
                told(RecordingStarted, 0, task_id="t", user_id="u"),
                told(RecordingUploaded, 9, task_id="t", user_id="v", file_name="a"),
            ],
            [("started", None, 0), ("uploaded", "a", None)],
            id="two users in one task",
        ),
    ],
)
def test_a_recording_is_followed_from_start_to_file(events: list[RoomEvent], files: list[Any]) -> None:
    for room in (only(*events), only(*reversed(events))):
        assert [
            (one.state, one.file_name, one.started_at and (one.started_at - START).total_seconds())
            for one in room.recordings
        ] == files


def test_a_failed_recording_says_why() -> None:
    (recording,) = only(told(RecordingFailed, 5, task_id="t", error="disk full")).recordings
    assert (recording.error, recording.failed_at) == ("disk full", recording.failed_at)


SECONDS, CONNECTIONS, LIVES = st.integers(0, 9), st.sampled_from(["a", "b", None]), st.sampled_from(["1", "2", None])
USERS = st.sampled_from("uv")
STORIES = st.lists(
    st.one_of(
        st.builds(joined, SECONDS, CONNECTIONS, USERS, LIVES),
        st.builds(left, SECONDS, CONNECTIONS, USERS, LIVES, duration_s=st.one_of(st.none(), SECONDS)),
        st.builds(created, SECONDS, LIVES),
        st.builds(ended, SECONDS, LIVES),
        st.builds(waits, SECONDS, CONNECTIONS, user_id=USERS),
        st.builds(waited, SECONDS, CONNECTIONS, user_id=USERS),
        st.builds(lambda at_s, **fields: told(RecordingStarted, at_s, **fields), SECONDS, session_id=LIVES),
        st.builds(
            lambda at_s, **fields: told(RecordingUploaded, at_s, **fields),
            SECONDS,
            recording_id=CONNECTIONS,
            session_id=LIVES,
            file_name=CONNECTIONS,
        ),
        st.builds(lambda at_s: told(RoomUpdated, at_s, name="n"), SECONDS),
    ),
    max_size=30,
)


@settings(deadline=None, max_examples=60)
@given(STORIES, st.integers())
def test_any_order_and_any_repeats_give_the_same_view(events: list[RoomEvent], seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311  hypothesis chose it
    mixed = [*events, *(event for event in events if chance.random() < 0.5)]
    chance.shuffle(mixed)
    assert view(mixed) == view(events)


@settings(deadline=None, max_examples=60)
@given(STORIES)
def test_nobody_is_inside_twice_or_in_a_room_that_ended_or_leaves_before_coming(events: list[RoomEvent]) -> None:
    for room in view(events):
        inside = [session.user_id for session in room.inside]
        assert len(set(inside)) == len(inside)
        assert room.open or not inside
        for session in room.sessions:
            assert session.joined_at is None or session.left_at is None or session.joined_at <= session.left_at
