"""The room log in Redis."""

from collections.abc import Sequence

import redis.asyncio

from hookline.workers.room_log import KEEP_S, RoomEvent, decode, encode
from hookline.workers.stores.redis.client import Client

TIMEOUT_S = 5.0
_EVENTS = "hookline:rooms:events"
_TIMES = "hookline:rooms:times"
_PAGE = 1000

# KEYS: the events, their times. ARGV: id, seconds, event, how long to keep it. Of several versions of
# one event the earliest is kept. Each call deletes up to a hundred old events.
_ADD = """
local old = redis.call('ZSCORE', KEYS[2], ARGV[1])
if not old or tonumber(ARGV[2]) < tonumber(old) then
    redis.call('ZADD', KEYS[2], ARGV[2], ARGV[1])
    redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
end
local ended = redis.call('TIME')[1] - ARGV[4]
local old_ids = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', '(' .. ended, 'LIMIT', 0, 100)
if #old_ids > 0 then
    redis.call('ZREM', KEYS[2], unpack(old_ids))
    redis.call('HDEL', KEYS[1], unpack(old_ids))
end
"""


class RedisRoomLog:
    """Implements `RoomLog`. `add` also drops events older than `keep_s` by the provider's time."""

    def __init__(self, client: Client, keep_s: float) -> None:
        self._client = client
        self._keep_s = keep_s

    @classmethod
    async def open(cls, url: str, keep_s: float = KEEP_S, timeout_s: float = TIMEOUT_S) -> "RedisRoomLog":
        """Raises Unreachable, or SettingsError for a wrong URL and for keys that a newer version wrote."""
        client = Client(url, timeout_s)
        try:
            await client.check_schema()
        except BaseException:
            await client.close()
            raise
        return cls(client, keep_s)

    async def close(self) -> None:
        await self._client.close()

    async def add(self, event: RoomEvent) -> None:
        row: list[str | float] = [event.id, repr(event.occurred_at.timestamp()), encode(event).decode(), self._keep_s]
        await self._client.script(_ADD, [_EVENTS, _TIMES], row)

    async def events(self) -> Sequence[RoomEvent]:
        return [decode(body) for body in (await self._client.run(_bodies)).values()]


async def _bodies(server: "redis.asyncio.Redis") -> dict[str, str]:
    """In pages, since one command that reads everything would block all other clients."""
    return {event_id: body async for event_id, body in server.hscan_iter(_EVENTS, count=_PAGE)}
