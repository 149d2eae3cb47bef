"""The event log: every canonical event once, found again by room, user, id, time, source and topic.

`EventLog` has what all stores share. An `EventStorage` keeps the events of one store: it knows each by its id, and by
the keys of the indexes in which it stands. Events are in the order of `Position`, by the time at which they occurred.
What is old is judged by the time of receipt, which no sender chooses.
"""

import hashlib
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

import msgspec

from hookline.schemas.envelope import occurrence
from hookline.schemas.events import EVENT_TYPES, CanonicalEvent, Event, event_topic

KEEP_S = 30 * 24 * 3600.0
PURGE_EVERY = 200
PURGE_AT_MOST = 500
"""Every 200 events that a process appends, it deletes up to 500 old ones."""
MAX_LIMIT = 1000
_PAGE = 500
_KEY_BYTES = 12
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Event] = msgspec.json.Decoder(Event)


class Position(NamedTuple):
    """A place in the order of the log: when an event occurred, in microseconds since 1970, and its id."""

    occurred_us: int
    event_id: str


THE_END = Position(2**53, "")
"""Behind every event."""


class Place(msgspec.Struct, frozen=True, array_like=True, order=True):
    """Names a room: two sources may have rooms of one id."""

    provider: str
    source: str
    room_id: str


_place_decoder = msgspec.json.Decoder(Place)


class Entry(msgspec.Struct, frozen=True, gc=False):
    """What a storage keeps of one event. `keys` are those of its indexes, `place` its room as JSON, or ''.

    Of several versions of an event the one with the least `version` is kept. A re-send may carry another time where
    the provider sends no time of the event (GME).
    """

    event_id: str
    occurred_us: int
    received_us: int
    body: bytes
    keys: Sequence[str]
    place: str = ""
    room_id: str = ""

    @property
    def key(self) -> str:
        return self.event_id

    @property
    def received_s(self) -> int:
        return self.received_us // 1_000_000

    @property
    def version(self) -> tuple[int, int, bytes]:
        return self.occurred_us, self.received_us, self.body


class Found(msgspec.Struct, frozen=True, gc=False):
    """An event in the order of the log. `body` is None if it was deleted just now."""

    position: Position
    body: bytes | str | None


class Repeats(NamedTuple):
    """How often the provider has delivered an event again, and when last, in microseconds since 1970.

    A delivery is told from its repeats by the time of its receipt: what a worker puts back counts once.
    """

    event_id: str
    times: int
    received_us: int


class Latest(NamedTuple):
    """A room, and when its latest delivery was received, in seconds since 1970: most deliveries change nothing then."""

    received_s: int
    place: str


class EventStorage(Protocol):
    """Keeps entries. Every method raises Unreachable."""

    async def append(self, entry: Entry) -> None:
        """Keep the event with all its keys, or nothing. The room's latest delivery becomes at least this one.

        If the event is there with another time of receipt, and this one is the latest, a repeat is counted.

        Every so often it deletes a bounded number of events that were received too long ago.
        """

    async def scan(self, keys: Collection[str], since_us: int, before: Position, count: int) -> Sequence[Found]:
        """The latest `count` events before a position, latest first, of those under any of these keys.

        They occurred at `since_us` or later. The cost is that of what is returned, times the number of keys.
        """

    async def received(self, since_us: int, before: Position, count: int) -> Sequence[Found]:
        """The latest received `count` events before a position, latest first, received at `since_us` or later.

        These positions are in order of receipt: their times are those of receipt, and only the storage knows what their
        `event_id` holds. The cost is that of what is returned.
        """

    async def body(self, event_id: str) -> bytes | str | None:
        """The event with this id."""

    async def repeats(self, event_ids: Sequence[str]) -> Sequence[Repeats]:
        """Those of these events that were delivered again. The cost is that of a look-up for each."""

    async def rooms(self, before: Latest, count: int) -> Sequence[Latest]:
        """Rooms with their latest delivery, the latest first; only those before `before`."""

    async def places(self, room_id: str) -> Sequence[str]:
        """The rooms with this id, of all sources."""


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """Which events to find: those that match everything given here.

    `user_id` finds events that name the user in any part: as a participant, caller, callee, member of a call, or on a
    seat. The event occurred at `since` or later, and before `until`.
    """

    room_id: str | None = None
    user_id: str | None = None
    source: str | None = None
    topic: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def matches(self, event: CanonicalEvent) -> bool:
        """Whether the event is as wanted. Its times are not looked at."""
        return (
            self.room_id in (None, getattr(event, "room_id", None))
            and (self.user_id is None or self.user_id in users(event))
            and self.source in (None, event.source)
            and self.topic in (None, event_topic(event))
        )


class EventPage(msgspec.Struct, frozen=True):
    """Some events, the latest first, and the cursor for those before them. It is None on the last page."""

    events: Sequence[Event]
    cursor: str | None = None


class RoomsPage(msgspec.Struct, frozen=True):
    """Some rooms, that with the latest delivery first, and the cursor for the rest. It is None on the last page.

    `received_at` has the second of each room's latest delivery.
    """

    places: Sequence[Place]
    cursor: str | None = None
    received_at: Sequence[datetime] = ()


class EventLog:
    """The log in one store. Every method raises Unreachable."""

    def __init__(self, storage: EventStorage) -> None:
        self._storage = storage

    async def append(self, event: CanonicalEvent) -> None:
        """Keep the event, once however often it is appended."""
        await self._storage.append(entry(event))

    async def get(self, event_id: str) -> Event | None:
        """The event with this id."""
        return decode(await self._storage.body(event_id))

    async def search(
        self, query: Query, *, limit: int = 100, cursor: str | None = None, scan_limit: int | None = None
    ) -> EventPage:
        """The latest matching events, up to `limit`. `cursor` is that of the page before.

        The cost is that of what is returned where the query names one of room, user, source and topic, or source and
        topic, or only times. Of more, it is that of the room's events, or else of the user's, but ends a page after
        `scan_limit` of them. Raises ValueError for a limit of less than 1 or more than 1000, or a malformed cursor.
        """
        wanted = _checked_limit(limit)
        since_us = 0 if query.since is None else _microseconds(query.since)
        keys, events, scanned = await self._keys(query), list[Event](), 0
        async for found in self._before(_first_position(query, cursor), keys, since_us, wanted):
            event, scanned = decode(found.body), scanned + 1
            if event is not None and query.matches(event):
                events.append(event)
            if len(events) == wanted or scanned == scan_limit:
                return EventPage(events, _cursor(found.position))
        return EventPage(events)

    async def repeats(self, event_ids: Sequence[str]) -> Mapping[str, int]:
        """How often these events were delivered again; without those that were not."""
        return {each.event_id: each.times for each in await self._storage.repeats(event_ids)} if event_ids else {}

    async def room(self, place: Place) -> Sequence[Event]:
        """All events of a room, the latest first. The cost is that of these events."""
        entries = self._before(THE_END, [room_key(place)], 0, _PAGE)
        return [event async for found in entries if (event := decode(found.body)) is not None]

    async def rooms(self, *, limit: int = 100, cursor: str | None = None) -> RoomsPage:
        """The rooms with the latest deliveries, up to `limit`. `cursor` is that of the page before.

        The cost is that of what is returned. Raises ValueError as `search` does.
        """
        count = _checked_limit(limit)
        before = Latest(*THE_END) if cursor is None else Latest(*_read_cursor(cursor))
        found = await self._storage.rooms(before, count)
        places = [_place(each.place) for each in found]
        received_at = [datetime.fromtimestamp(each.received_s, UTC) for each in found]
        return RoomsPage(places, _cursor(found[-1]) if len(found) == count else None, received_at)

    async def received(self, since: datetime, *, limit: int = 100, cursor: str | None = None) -> EventPage:
        """The latest received events, up to `limit`, the latest first; none from before `since`.

        `cursor` is that of the page before. The cost is that of what is returned. Raises ValueError as `search` does.
        """
        before = THE_END if cursor is None else Position(*_read_cursor(cursor))
        found = await self._storage.received(_microseconds(since), before, _checked_limit(limit))
        events = [event for each in found if (event := decode(each.body)) is not None]
        return EventPage(events, _cursor(found[-1].position) if events and len(found) == limit else None)

    async def places(self, room_id: str) -> Sequence[Place]:
        """The rooms with this id, of all sources."""
        return sorted(map(_place, await self._storage.places(room_id)))

    async def _before(
        self, position: Position, keys: Collection[str], since_us: int, count: int
    ) -> AsyncIterator[Found]:
        """The entries before a position, the latest first: `count` at first, then page by page."""
        while keys:
            page = await self._storage.scan(keys, since_us, position, count)
            for found in page:
                yield found
            if len(page) < count:
                break
            position, count = page[-1].position, _PAGE

    async def _keys(self, query: Query) -> Collection[str]:
        """The keys of the index that has the fewest events besides the matching ones."""
        if query.room_id is not None:
            places = await self.places(query.room_id)
            return [room_key(place) for place in places if query.source in (None, place.source)]
        if query.user_id is not None:
            return [user_key(query.user_id)]
        if query.source is not None:
            return [source_key(query.source, topic) for topic in _topics(query)]
        return [topic_key(topic) for topic in _topics(query)]


def _topics(query: Query) -> Iterable[str]:
    return EVENT_TYPES if query.topic is None else [query.topic]


def entry(event: CanonicalEvent) -> Entry:
    """What is kept of an event."""
    topic, room_id = event_topic(event), getattr(event, "room_id", None)
    keys = [topic_key(topic), source_key(event.source, topic), *map(user_key, sorted(users(event)))]
    occurred_us, received_us = _microseconds(event.occurred_at), _microseconds(event.received_at)
    body = _encoder.encode(event)
    if room_id is None:
        return Entry(event.id, occurred_us, received_us, body, keys)
    place = Place(event.provider, event.source, room_id)
    keys.append(room_key(place))
    return Entry(event.id, occurred_us, received_us, body, keys, _encoder.encode(place).decode(), room_id)


def version(event: CanonicalEvent) -> tuple[int, int, bytes]:
    """By what the versions of one event are ordered; the least one is kept."""
    return entry(event).version


def decode(body: bytes | str | None) -> Event | None:
    """The event; None for no event, or one of a type that only a newer version knows."""
    try:
        return None if body is None else _decoder.decode(body)
    except msgspec.ValidationError:
        return None


def users(event: CanonicalEvent) -> set[str]:
    """Everyone whom the event names as taking part."""
    named = {getattr(event, name, None) for name in ("user_id", "caller_id")}
    named.update(getattr(event, "callee_ids", ()))
    named.update(seat.user_id for seat in getattr(event, "seats", ()))
    named.update(member.user_id for member in getattr(event, "members", ()))
    return {user for user in named if user is not None}


# A key has the same length for any text that a sender chooses.


def room_key(place: Place) -> str:
    return _key("room", place.provider, place.source, place.room_id)


def user_key(user_id: str) -> str:
    return _key("user", user_id)


def topic_key(topic: str) -> str:
    return _key("topic", topic)


def source_key(source: str, topic: str) -> str:
    return _key("source", source, topic)


@lru_cache(maxsize=1024)
def _key(*words: str) -> str:
    digest = hashlib.blake2b(_encoder.encode(words), digest_size=_KEY_BYTES).digest()
    return urlsafe_b64encode(digest).decode()


def with_possible_time(event: Any) -> Any:
    """The event at the time of its receipt if its own time cannot be, as earlier versions kept some."""
    at = occurrence(event.occurred_at.timestamp(), event.received_at)
    return event if at == event.received_at == event.occurred_at else msgspec.structs.replace(event, occurred_at=at)


def _microseconds(time: datetime) -> int:
    """Within what every store can order exactly; it ends in the year 2255."""
    return min(max((time - _EPOCH) // _MICROSECOND, 0), THE_END.occurred_us - 1)


def _place(text: str) -> Place:
    return _place_decoder.decode(text)


def _checked_limit(limit: int) -> int:
    if not 1 <= limit <= MAX_LIMIT:
        raise ValueError(f"the limit is {limit}, and must be 1 to {MAX_LIMIT}")
    return limit


def _first_position(query: Query, cursor: str | None) -> Position:
    until = THE_END if query.until is None else Position(_microseconds(query.until), "")
    return until if cursor is None else min(until, Position(*_read_cursor(cursor)))


def _cursor(position: tuple[int, str]) -> str:
    return f"{position[0]}:{position[1]}"


def _read_cursor(cursor: str) -> tuple[int, str]:
    number, colon, rest = cursor.partition(":")
    if not colon or not (number.isascii() and number.isdecimal()) or int(number) > THE_END.occurred_us:
        raise ValueError(f"{cursor!r} is no cursor of this log")
    return int(number), rest
