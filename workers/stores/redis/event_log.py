"""The event log in Redis. What arrives while one group of events is written is written as the next group.

`hookline:event:<id>` is an event, with its repeats, and `hookline:events:<key>` an index: a sorted set of ids, by the
time at which the events occurred. `hookline:log:received` orders all events by the time of their receipt, each with
its keys, so that old ones are found. `hookline:log:rooms` orders the rooms by their latest delivery, and
`hookline:places:<room id>` holds those of one id. Times are in microseconds since 1970, and those of rooms in
seconds.
"""

from collections.abc import Collection, Sequence
from contextlib import suppress
from typing import Any

import msgspec
import redis.asyncio

from hookline.schemas.errors import Unreachable
from hookline.workers.event_log import (
    KEEP_S,
    PURGE_AT_MOST,
    PURGE_EVERY,
    Entry,
    Found,
    Latest,
    Position,
    Repeats,
    decode,
    entry,
    with_possible_time,
)
from hookline.workers.stores.redis.client import Client
from hookline.workers.stores.request_batcher import RequestBatcher

TIMEOUT_S = 5.0
_RECEIVED = "hookline:log:received"
_ROOMS = "hookline:log:rooms"
_OLD_EVENTS = "hookline:rooms:events"
_OLD_TIMES = "hookline:rooms:times"
_MOVED_AT_ONCE = 500
_DAY_MS = 24 * 3600 * 1000

# KEYS: all events, all rooms. ARGV: how long a key lives after the last event that was added to it, in milliseconds,
# and a JSON list with eight texts for each event: id, occurred, received, keys with spaces between, event, place, room
# id, received in seconds.
_APPEND = r"""
local function note_room(place, room_id, received)
    local latest = redis.call('ZSCORE', KEYS[2], place)
    if not latest or tonumber(received) > tonumber(latest) then redis.call('ZADD', KEYS[2], received, place) end
    redis.call('SADD', 'hookline:places:' .. room_id, place)
    redis.call('PEXPIRE', 'hookline:places:' .. room_id, ARGV[1])
end
local function count_repeat(received, other, key)
    local latest = redis.call('HGET', key, 'repeated')
    if tonumber(other) > tonumber(received) then received = other end
    if not latest or tonumber(received) > tonumber(latest) then
        redis.call('HSET', key, 'repeated', received)
        redis.call('HINCRBY', key, 'repeats', 1)
    end
end
local function is_earlier(occurred, received, event, key)
    local old = redis.call('HMGET', key, 'occurred', 'received', 'event')
    if not old[1] then return true end
    if received ~= old[2] then count_repeat(received, old[2], key) end
    if occurred ~= old[1] then return tonumber(occurred) < tonumber(old[1]) end
    if received ~= old[2] then return tonumber(received) < tonumber(old[2]) end
    return event < old[3]
end
local items = cjson.decode(ARGV[2])
for i = 1, #items, 8 do
    local id, occurred, received, keys, event = items[i], items[i + 1], items[i + 2], items[i + 3], items[i + 4]
    local key = 'hookline:event:' .. id
    if is_earlier(occurred, received, event, key) then
        redis.call('HSET', key, 'occurred', occurred, 'received', received, 'event', event)
        redis.call('PEXPIRE', key, ARGV[1])
        redis.call('ZADD', KEYS[1], received, keys .. '\n' .. id)
        for index in string.gmatch(keys, '%S+') do
            redis.call('ZADD', 'hookline:events:' .. index, occurred, id)
            redis.call('PEXPIRE', 'hookline:events:' .. index, ARGV[1])
        end
    end
    if items[i + 5] ~= '' then note_room(items[i + 5], items[i + 6], items[i + 7]) end
end
for _, key in ipairs(KEYS) do redis.call('PEXPIRE', key, ARGV[1]) end
"""

# KEYS: all events, all rooms. ARGV: how long an event is kept, in microseconds, and how many to delete at most.
_PURGE = r"""
local time = redis.call('TIME')
local function before(time) return string.format('(%.0f', time) end
local ended = before(time[1] * 1000000 + time[2] - ARGV[1])
for _, each in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ended, 'LIMIT', 0, ARGV[2])) do
    local keys, id = string.match(each, '^([^\n]*)\n(.*)$')
    redis.call('DEL', 'hookline:event:' .. id)
    for index in string.gmatch(keys, '%S+') do redis.call('ZREM', 'hookline:events:' .. index, id) end
    redis.call('ZREM', KEYS[1], each)
end
ended = before(time[1] - ARGV[1] / 1000000)
for _, place in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', ended, 'LIMIT', 0, ARGV[2])) do
    redis.call('SREM', 'hookline:places:' .. cjson.decode(place)[3], place)
    redis.call('ZREM', KEYS[2], place)
end
"""


class RedisEventStorage:
    """Implements `EventStorage`. An event is kept for `keep_s` after its receipt, or a little longer."""

    def __init__(self, client: Client, keep_s: float, timeout_s: float) -> None:
        self._client = client
        self._keep_us = round(keep_s * 1e6)
        self._batcher = RequestBatcher[Entry, None](self._append, timeout_s)
        self._appended = 0

    @classmethod
    async def open(cls, url: str, keep_s: float = KEEP_S, timeout_s: float = TIMEOUT_S) -> "RedisEventStorage":
        """Move the events of the room log of earlier versions, if there are any.

        Raises Unreachable, or SettingsError for a wrong URL and for keys that a newer version wrote.
        """
        client = Client(url, timeout_s)
        storage = cls(client, keep_s, timeout_s)
        try:
            await client.check_schema()
            while await storage._move():
                pass
        except BaseException:
            await client.close()
            raise
        return storage

    async def close(self) -> None:
        try:
            await self._batcher.close()
        finally:
            await self._client.close()

    async def append(self, entry: Entry) -> None:
        await self._batcher.ask(entry)

    async def scan(self, keys: Collection[str], since_us: int, before: Position, count: int) -> Sequence[Found]:
        async def work(server: "redis.asyncio.Redis") -> list[Found]:
            indexes = [f"hookline:events:{key}" for key in keys]
            latest = await _latest(server, indexes, since_us, before, count)
            bodies = await _bodies(server, [each.event_id for each in latest])
            return [Found(*each) for each in zip(latest, bodies, strict=True)]

        return await self._client.run(work)

    async def received(self, since_us: int, before: Position, count: int) -> Sequence[Found]:
        async def work(server: "redis.asyncio.Redis") -> list[Found]:
            latest = await _latest(server, [_RECEIVED], since_us, before, count)
            bodies = await _bodies(server, [each.event_id.partition("\n")[2] for each in latest])
            return [Found(*each) for each in zip(latest, bodies, strict=True)]

        return await self._client.run(work)

    async def body(self, event_id: str) -> str | None:
        async def work(server: "redis.asyncio.Redis") -> str | None:
            return (await _bodies(server, [event_id]))[0]

        return await self._client.run(work)

    async def repeats(self, event_ids: Sequence[str]) -> Sequence[Repeats]:
        async def work(server: "redis.asyncio.Redis") -> list[Repeats]:
            pipeline: Any = server.pipeline(transaction=False)
            for event_id in event_ids:
                pipeline.hmget(f"hookline:event:{event_id}", "repeats", "repeated")
            found = zip(event_ids, await pipeline.execute(), strict=True)
            return [
                Repeats(event_id, int(count), int(at_us)) for event_id, (count, at_us) in found if count is not None
            ]

        return await self._client.run(work)

    async def rooms(self, before: Latest, count: int) -> Sequence[Latest]:
        async def work(server: "redis.asyncio.Redis") -> list[Latest]:
            return [Latest(*each) for each in await _latest(server, [_ROOMS], 0, Position(*before), count)]

        return await self._client.run(work)

    async def places(self, room_id: str) -> Sequence[str]:
        async def work(server: "redis.asyncio.Redis") -> list[str]:
            return [str(place) for place in await server.smembers(f"hookline:places:{room_id}")]

        return await self._client.run(work)

    async def _append(self, entries: list[Entry]) -> list[None]:
        items = [word for each in entries for word in _words(each)]
        arguments: list[str | float] = [round(self._keep_us / 1000) + _DAY_MS, msgspec.json.encode(items).decode()]
        await self._client.script(_APPEND, [_RECEIVED, _ROOMS], arguments)
        before, self._appended = self._appended, self._appended + len(entries)
        if before // PURGE_EVERY != self._appended // PURGE_EVERY:
            with suppress(Unreachable):  # it is retried after the next events
                await self._client.script(_PURGE, [_RECEIVED, _ROOMS], [self._keep_us, PURGE_AT_MOST])
        return [None] * len(entries)

    async def _move(self) -> int:
        """Move some events of the old room log; how many there were."""

        async def read(server: "redis.asyncio.Redis") -> tuple[list[str], list[str | None]]:
            ids: Any = await server.zrange(_OLD_TIMES, 0, _MOVED_AT_ONCE - 1)
            bodies: Any = await server.hmget(_OLD_EVENTS, ids) if ids else []
            return ids, bodies

        ids, bodies = await self._client.run(read)
        events = [event for body in bodies if body is not None and (event := decode(body)) is not None]
        if events:
            await self._append([entry(with_possible_time(event)) for event in events])
        if ids:
            await self._client.run(lambda server: _forget_old(server, ids))
        return len(ids)


async def _forget_old(server: "redis.asyncio.Redis", ids: Sequence[str]) -> None:
    await server.hdel(_OLD_EVENTS, *ids)
    await server.zrem(_OLD_TIMES, *ids)


async def _latest(
    server: "redis.asyncio.Redis", keys: Collection[str], since_us: int, before: Position, count: int
) -> list[Position]:
    """The latest members of sorted sets before a position, with their scores.

    Of those at exactly its time, the server does not tell which are before it: then another page is read.
    """
    found: list[Position] = []
    unread, offset = list(keys), 0
    while unread:
        pages = await _pages(server, unread, since_us, before.occurred_us, offset, count)
        found += [each for page in pages for each in page if each < before]
        unread = [key for key, page in zip(unread, pages, strict=True) if len(page) == count and page[0] >= before]
        offset += count
    return sorted(found, reverse=True)[:count]


async def _pages(
    server: "redis.asyncio.Redis", keys: Collection[str], since_us: int, until_us: int, offset: int, count: int
) -> list[list[Position]]:
    pipeline: Any = server.pipeline(transaction=False)
    for key in keys:
        pipeline.zrevrangebyscore(key, until_us, since_us, start=offset, num=count, withscores=True)
    return [[Position(int(score), member) for member, score in page] for page in await pipeline.execute()]


async def _bodies(server: "redis.asyncio.Redis", event_ids: Sequence[str]) -> list[str | None]:
    pipeline: Any = server.pipeline(transaction=False)
    for event_id in event_ids:
        pipeline.hget(f"hookline:event:{event_id}", "event")
    bodies: list[str | None] = await pipeline.execute()
    return bodies


def _words(entry: Entry) -> tuple[str, ...]:
    times = str(entry.occurred_us), str(entry.received_us)
    return (
        entry.event_id,
        *times,
        " ".join(entry.keys),
        entry.body.decode(),
        entry.place,
        entry.room_id,
        str(entry.received_s),
    )
