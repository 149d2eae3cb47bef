"""The contract of every room log."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from hookline.events import ParticipantJoined, RecordingStarted
from hookline.sqlite.database import Database
from hookline.workers.room_log import RoomEvent, RoomLog
from hookline.workers.stores.postgresql.room_log import PostgresqlRoomLog
from hookline.workers.stores.redis.room_log import RedisRoomLog
from hookline.workers.stores.sqlite.room_log import SqliteRoomLog
from tests.contract.stores import real_stores
from tests.events import START, make

pytestmark = real_stores

FOREVER_S = 100 * 365 * 24 * 3600.0
AN_HOUR_S = 3600.0


@asynccontextmanager
async def opened(address: str, keep_s: float = FOREVER_S) -> AsyncIterator[RoomLog]:
    if address.startswith("sqlite:"):
        database = await Database.open(Path(address.removeprefix("sqlite:")))
        yield SqliteRoomLog(database, keep_s)
        await database.close()
    elif address.startswith("redis:"):
        redis = await RedisRoomLog.open(address, keep_s)
        yield redis
        await redis.close()
    else:
        postgresql = await PostgresqlRoomLog.open(address, keep_s)
        yield postgresql
        await postgresql.close()


@pytest.fixture
async def log(address: str) -> AsyncIterator[RoomLog]:
    async with opened(address) as log:
        yield log


@pytest.fixture
async def room() -> str:
    """A room that no other test uses."""
    return f"房间 {uuid4().hex}"


async def events(log: RoomLog, room: str) -> list[RoomEvent]:
    return [event for event in await log.events() if event.room_id == room]


async def test_an_event_is_kept_unchanged(log: RoomLog, room: str) -> None:
    event = make(ParticipantJoined, uuid4().hex, room_id=room, user_id="用户😀")
    for _ in range(2):
        await log.add(event)
    assert await events(log, room) == [event]


async def test_of_several_versions_of_an_event_the_earliest_is_kept(log: RoomLog, room: str) -> None:
    event_id = uuid4().hex
    for at_s in (60, 0, 30):
        await log.add(make(RecordingStarted, event_id, at_s=at_s, room_id=room, task_id="t"))
    assert [event.occurred_at for event in await events(log, room)] == [START]


async def test_another_process_sees_all_events(address: str, log: RoomLog, room: str) -> None:
    for number in range(1500):
        await log.add(make(ParticipantJoined, f"{room} {number}", room_id=room, user_id=str(number)))
    async with opened(address) as other:
        assert len(await events(other, room)) == 1500


async def test_adding_drops_old_events(address: str, log: RoomLog, room: str) -> None:
    await log.add(make(ParticipantJoined, f"{room} old", room_id=room, user_id="u"))
    async with opened(address, AN_HOUR_S) as short_lived:
        for number in range(2000):  # START is long ago
            await short_lived.add(make(ParticipantJoined, f"{room} {number}", room_id=room, user_id=str(number)))
    assert await events(log, room) == []
