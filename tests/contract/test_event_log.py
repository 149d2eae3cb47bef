"""The contract of the event log in every store."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from hookline.events import (
    CallStarted,
    CanonicalEvent,
    ParticipantJoined,
    ParticipantLeft,
    RecordingStarted,
    RoomCreated,
    Seat,
    SeatsChanged,
)
from hookline.workers.event_follower import EventFollower
from hookline.workers.event_log import PURGE_AT_MOST, PURGE_EVERY, EventLog, Place, Query
from tests.contract.event_log_process import event as event_of_process
from tests.contract.event_logs import found, index_rows, opened_log
from tests.contract.stores import real_stores
from tests.events import START, make

pytestmark = real_stores

AN_HOUR_S = 3600.0
LATER = START + timedelta(days=365 * 50)
"""When all that a test appends is not old for a log that keeps an hour."""


@pytest.fixture
async def log(address: str) -> AsyncIterator[EventLog]:
    async with opened_log(address) as log:
        yield log


@pytest.fixture
async def room() -> str:
    """A room that no other test uses."""
    return f"房间 {uuid4().hex}"


@pytest.fixture
async def source() -> str:
    """A source that no other test uses."""
    return f"source-{uuid4().hex}"


async def append(log: EventLog, events: Sequence[CanonicalEvent]) -> None:
    await asyncio.gather(*map(log.append, events))


async def after_all(log: EventLog) -> datetime:
    """A time after every receipt that is in the log."""
    latest = (await log.received(datetime(1970, 1, 2, tzinfo=UTC), limit=1)).events
    return max([START, *(event.received_at for event in latest)]) + timedelta(hours=1)


async def test_an_event_is_kept_unchanged_and_once(log: EventLog, room: str) -> None:
    event = make(ParticipantJoined, uuid4().hex, room_id=room, user_id="用户😀")
    await append(log, [event] * 3)
    await log.append(event)
    assert await log.get(event.id) == event
    assert (await log.search(Query(room_id=room))).events == [event]
    assert await log.room(Place("krtc", "krtc-main", room)) == [event]


async def test_an_unknown_id_names_no_event(log: EventLog) -> None:
    assert await log.get(uuid4().hex) is None


@pytest.mark.parametrize("times", [(60, 0, 30), (0, 30, 60), (60, 30, 0)], ids=str)
@pytest.mark.parametrize("at_once", [True, False], ids=["at once", "one by one"])
async def test_of_several_versions_of_an_event_the_earliest_is_kept(
    address: str, log: EventLog, room: str, times: Sequence[int], *, at_once: bool
) -> None:
    versions = [make(RecordingStarted, f"{room} id", at_s=at_s, room_id=room, task_id="t") for at_s in times]
    async with opened_log(address) as other:
        if at_once:
            await asyncio.gather(*map(log.append, versions), *map(other.append, versions))
        else:
            for version in versions:
                await log.append(version)
    assert [event.occurred_at for event in (await log.search(Query(room_id=room))).events] == [START]
    after = Query(room_id=room, since=START + timedelta(seconds=1))
    assert await found(log, after) == []


async def test_events_are_found_by_everything_that_names_them(log: EventLog, room: str, source: str) -> None:
    user = f"user {room}"
    joined = make(ParticipantJoined, f"{room} 1", at_s=1, room_id=room, user_id=user, source=source)
    seated = make(SeatsChanged, f"{room} 2", at_s=2, room_id=room, seats=(Seat(index=1, user_id=user),), source=source)
    called = make(CallStarted, f"{room} 3", at_s=3, caller_id="a", callee_ids=("b", user), source=source)
    other = make(ParticipantJoined, f"{room} 4", at_s=4, room_id=room, user_id="another", source=f"{source}-2")
    await append(log, [joined, seated, called, other])

    async def numbers(**wanted: Any) -> list[int]:
        return [int(event_id.rpartition(" ")[2]) for event_id in await found(log, Query(**wanted))]

    after, before = START + timedelta(seconds=2), START + timedelta(seconds=4)
    assert await numbers(room_id=room) == [4, 2, 1]
    assert await numbers(room_id=room, source=source) == [2, 1]
    assert await numbers(room_id=room, user_id=user) == [2, 1]
    assert await numbers(room_id=room, topic="participant.joined") == [4, 1]
    assert await numbers(room_id=room, since=after, until=before) == [2]
    assert await numbers(user_id=user) == [3, 2, 1]
    assert await numbers(user_id=user, topic="call.started") == [3]
    assert await numbers(user_id=user, since=after) == [3, 2]
    assert await numbers(source=source) == [3, 2, 1]
    assert await numbers(source=source, topic="seats.changed") == [2]
    assert await numbers(source=source, until=after) == [1]
    assert await numbers(room_id=f"{room} of nobody") == []


async def test_all_events_and_those_of_a_topic_are_found_by_time(log: EventLog, room: str) -> None:
    at = 1e9 + int(uuid4().hex[:6], 16)  # which no other test uses
    start = START + timedelta(seconds=at)
    created = make(RoomCreated, f"{room} 1", at_s=at, room_id=room)
    joined = make(ParticipantJoined, f"{room} 2", at_s=at + 0.25, room_id=room, user_id="u")
    await append(log, [created, joined])
    span: dict[str, Any] = {"since": start, "until": start + timedelta(seconds=1)}
    assert await found(log, Query(**span)) == [joined.id, created.id]
    assert await found(log, Query(topic="room.created", **span)) == [created.id]


@pytest.mark.parametrize("limit", [1, 7, 24, 25, 26])
async def test_pages_have_every_event_once_the_latest_first(log: EventLog, room: str, limit: int) -> None:
    """Many have the same time, and one arrives while the pages are read."""
    events = [
        make(ParticipantJoined, f"{room} {number:02}", at_s=number // 10, room_id=room, user_id=str(number % 2))
        for number in range(25)
    ]
    await append(log, events)
    latest_first = [event.id for event in reversed(events)]
    assert await found(log, Query(room_id=room), limit) == latest_first
    assert await found(log, Query(room_id=room, user_id="1"), limit) == latest_first[1::2]
    first = await log.search(Query(room_id=room), limit=5)
    await log.append(make(ParticipantJoined, f"{room} new", at_s=100, room_id=room, user_id="u"))
    second = await log.search(Query(room_id=room), limit=5, cursor=first.cursor)
    assert [event.id for event in (*first.events, *second.events)] == latest_first[:10]


async def test_a_page_of_one_room_in_many_sources_is_the_latest_of_all(log: EventLog, room: str) -> None:
    sources = [f"source-{number}" for number in range(5)]
    events = [
        make(RoomCreated, f"{room} {name} {at_s}", at_s=at_s, room_id=room, source=name)
        for at_s in range(10)
        for name in sources
    ]
    await append(log, events)
    assert await found(log, Query(room_id=room), limit=3) == [event.id for event in reversed(events)]
    assert await log.places(room) == [Place("krtc", name, room) for name in sources]
    assert len(await log.room(Place("krtc", "source-3", room))) == 10


@pytest.mark.parametrize("limit", [0, -1, 1001])
async def test_a_limit_is_bounded(log: EventLog, limit: int) -> None:
    with pytest.raises(ValueError, match="must be 1 to 1000"):
        await log.search(Query(), limit=limit)
    with pytest.raises(ValueError, match="must be 1 to 1000"):
        await log.rooms(limit=limit)


@pytest.mark.parametrize("cursor", ["", "nothing", "-1:x", "9" * 30 + ":x", "\N{ARABIC-INDIC DIGIT ONE}:x"])
async def test_a_malformed_cursor_is_refused(log: EventLog, cursor: str) -> None:
    with pytest.raises(ValueError, match="is no cursor"):
        await log.search(Query(), cursor=cursor)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param("a\x00b", id="a NUL"),
        pytest.param("events", id="a word that keys contain"),
        pytest.param("a b\nc\td", id="blanks"),
        pytest.param("用" * 512, id="the longest"),
        pytest.param('"%s"?:{}[]', id="signs"),
    ],
)
async def test_a_room_and_a_user_may_have_any_name(log: EventLog, source: str, text: str) -> None:
    event = make(ParticipantJoined, uuid4().hex, room_id=text, user_id=text, source=source)
    await log.append(event)
    assert await found(log, Query(room_id=text, source=source)) == [event.id]
    assert event.id in await found(log, Query(user_id=text))
    assert Place("krtc", source, text) in await log.places(text)


@pytest.mark.parametrize("year", [1, 1969, 2015, 9999])
async def test_an_event_of_any_time_is_found(log: EventLog, room: str, year: int) -> None:
    event = make(ParticipantJoined, room, room_id=room, user_id="u", occurred_at=datetime(year, 1, 1, tzinfo=UTC))
    await log.append(event)
    assert (await log.search(Query(room_id=room))).events == [event]
    assert await log.room(Place("krtc", "krtc-main", room)) == [event]


async def test_rooms_are_listed_by_their_latest_delivery(log: EventLog, room: str) -> None:
    """A late event brings its room to the front, whatever time it occurred at. A repeat is a delivery, too."""

    def joined(number: int, received_s: float, event_id: str) -> CanonicalEvent:
        received_at = LATER + timedelta(seconds=received_s)
        name = f"{room} {number}"
        return make(ParticipantJoined, f"{name} {event_id}", room_id=name, user_id="u", received_at=received_at)

    for number in range(5):
        await log.append(joined(number, number, "a"))
    await log.append(joined(1, 10, "b"))
    await log.append(joined(0, 11, "a"))
    names, cursor = [], None
    for _ in range(3):
        page = await log.rooms(limit=2, cursor=cursor)
        names += [place.room_id for place in page.places]
        cursor = page.cursor
    assert names[:5] == [f"{room} {number}" for number in (0, 1, 4, 3, 2)]


async def test_another_process_sees_all_events(address: str, log: EventLog, room: str) -> None:
    events = [make(ParticipantJoined, f"{room} {number}", room_id=room, user_id=str(number)) for number in range(1500)]
    await append(log, events)
    async with opened_log(address) as other:
        assert set(await other.room(Place("krtc", "krtc-main", room))) == set(events)


async def test_processes_that_append_the_same_events_at_once_keep_each_once(address: str, room: str) -> None:
    events = [
        make(ParticipantLeft, f"{room} {number}", at_s=number, room_id=room, user_id="u") for number in range(300)
    ]
    async with opened_log(address) as first, opened_log(address) as second:
        await asyncio.gather(*map(first.append, events), *map(second.append, reversed(events)))
        assert await found(first, Query(user_id="u", room_id=room)) == [event.id for event in reversed(events)]
    assert set(await index_rows(address, events)) == set(await index_rows(address, events[:1]))


async def test_old_events_are_deleted_in_small_batches_by_their_time_of_receipt(
    address: str, log: EventLog, room: str
) -> None:
    def joined(number: int, **times: Any) -> CanonicalEvent:
        return make(ParticipantJoined, f"{room} {number}", room_id=f"{room} {number}", user_id="u", **times)

    old = [joined(number, occurred_at=LATER) for number in range(PURGE_AT_MOST + 100)]  # received long ago
    await append(log, old)
    kept: list[CanonicalEvent] = []
    async with opened_log(address, AN_HOUR_S) as keeping_an_hour:
        while await log.places(f"{room} 0") or any(
            [await log.get(event.id) for event in old]
        ):  # other tests have left old events, too
            more = [joined(10_000 + len(kept) + number, received_at=LATER) for number in range(PURGE_EVERY)]
            await append(keeping_an_hour, more)  # they occurred long ago
            kept += more
            left = sum([await log.get(event.id) is not None for event in old])
            assert left >= len(old) - PURGE_AT_MOST * len(kept) // PURGE_EVERY
            assert len(kept) <= 50 * PURGE_EVERY
    assert set(await index_rows(address, old)) == {0}
    assert await log.places(f"{room} 0") == []
    assert [await log.get(event.id) for event in kept[::50]] == kept[::50]
    assert len(await log.places(f"{room} 10000")) == 1


def run_until_killed(address: str, room: str) -> int:
    """Let a process append events, and kill it. The result is how many it had appended at least."""
    process = subprocess.Popen(  # noqa: S603  our own module
        [sys.executable, "-m", "tests.contract.event_log_process", address, room], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        return max(int(process.stdout.readline()) for _ in range(20))
    finally:
        process.kill()
        process.communicate()


async def test_after_a_kill_every_event_that_was_kept_is_kept_whole(address: str, log: EventLog, room: str) -> None:
    appended, place = await asyncio.to_thread(run_until_killed, address, room), Place("krtc", "krtc-main", room)
    kept = await log.room(place)
    assert len(kept) >= appended
    assert await log.places(room) == [place]
    whole = set(await index_rows(address, kept))
    assert len(whole) == 1
    again = [event_of_process(room, number) for number in range(len(kept) + 20)]
    await append(log, again)  # what was in flight is delivered again
    assert len(await log.room(place)) == len(again)
    assert set(await index_rows(address, again)) == whole


async def test_events_are_read_by_the_time_of_their_receipt(log: EventLog, room: str) -> None:
    """Some are received at the same time, and all occurred in the opposite order."""
    since = await after_all(log)
    events = [
        make(
            RoomCreated,
            f"{room} {number}",
            at_s=-number,
            room_id=room,
            received_at=since + timedelta(seconds=number // 2),
        )
        for number in range(7)
    ]
    await append(log, events)
    ids, cursor = [], None
    while True:
        page = await log.received(since, limit=2, cursor=cursor)
        ids += [int(event.id.rpartition(" ")[2]) for event in page.events if getattr(event, "room_id", "") == room]
        if (cursor := page.cursor) is None:
            break
    assert sorted(ids) == list(range(7))
    assert [number // 2 for number in ids] == [3, 2, 2, 1, 1, 0, 0]
    later = await log.received(since + timedelta(seconds=2), limit=100)
    mine = {event.id for event in later.events if getattr(event, "room_id", "") == room}
    assert mine == {f"{room} {number}" for number in (4, 5, 6)}


async def test_a_follower_gets_what_comes_and_nothing_twice(log: EventLog, room: str) -> None:
    base = await after_all(log)

    def received(name: str, at_s: float) -> CanonicalEvent:
        return make(RoomCreated, f"{room} {name}", room_id=room, received_at=base + timedelta(seconds=at_s))

    await log.append(received("before", 0))
    follower = EventFollower(log)
    await follower.start()

    async def new() -> list[str]:
        return [event.id.rpartition(" ")[2] for event in await follower.new() if getattr(event, "room_id", "") == room]

    assert await new() == []
    await append(log, [received("second", 20), received("first", 10)])
    assert await new() == ["first", "second"]
    await append(log, [received("first", 10), received("overtaken", 5), received("third", 30)])
    assert await new() == ["overtaken", "third"]
    assert await new() == []


async def test_a_search_ends_a_page_after_so_many_events_that_do_not_match(log: EventLog, room: str) -> None:
    events = [
        make(ParticipantJoined, f"{room} {number:02}", at_s=number, room_id=room, user_id="a" if number == 0 else "b")
        for number in range(12)
    ]
    await append(log, events)
    query, cursor, pages = Query(room_id=room, user_id="a"), None, list[list[str]]()
    while True:
        page = await log.search(query, limit=5, cursor=cursor, scan_limit=5)
        pages.append([event.id for event in page.events])
        if (cursor := page.cursor) is None:
            break
    assert pages == [[], [], [events[0].id]]


async def test_rooms_come_with_the_time_of_their_latest_delivery(log: EventLog, room: str) -> None:
    latest = START + timedelta(hours=1)
    for received_at in (START, latest):
        await log.append(make(RoomCreated, f"{room} {received_at}", room_id=room, received_at=received_at))
    times, cursor = dict[str, datetime](), None
    while room not in times:
        page = await log.rooms(limit=1000, cursor=cursor)
        times |= {each.room_id: at for each, at in zip(page.places, page.received_at, strict=True)}
        cursor = page.cursor
    assert times[room] == latest


@pytest.mark.parametrize("at_once", [True, False], ids=["at once", "one by one"])
async def test_a_delivery_is_a_repeat_if_it_was_received_at_another_time(
    log: EventLog, room: str, *, at_once: bool
) -> None:
    def received(name: str, at_s: float) -> CanonicalEvent:
        return make(RoomCreated, f"{room} {name}", room_id=room, received_at=START + timedelta(seconds=at_s))

    once = [received("once", 0)] * 3  # put back by a worker
    twice = [received("twice", 0), received("twice", 7), received("twice", 7)]
    if at_once:
        await append(log, [*once, *twice])
    else:
        for event in (*once, *twice, received("thrice", 9), received("thrice", 0), received("thrice", 20)):
            await log.append(event)
    found = await log.repeats([f"{room} {name}" for name in ("once", "twice", "thrice", "never")])
    expected = {f"{room} twice": 1} if at_once else {f"{room} twice": 1, f"{room} thrice": 2}
    assert found == expected
    assert await log.repeats([]) == {}


async def test_the_count_of_repeats_goes_with_old_events(address: str, room: str) -> None:
    async with opened_log(address, AN_HOUR_S) as log:
        old = f"{room} old"
        for at_s in (0, 1):
            await log.append(make(RoomCreated, old, room_id=room, received_at=START + timedelta(seconds=at_s)))
        for number in range(40):
            events = [
                make(RoomCreated, f"{room} {number} {each}", room_id=room, received_at=LATER) for each in range(50)
            ]
            await append(log, events)
            if not await log.repeats([old]):
                break
        assert await log.repeats([old]) == {}
