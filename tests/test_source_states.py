"""When each source last sent something, and whether its silence is unusual."""

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from hookline.events import ParticipantJoined
from hookline.sqlite.database import Database
from hookline.workers.event_log import EventLog
from hookline.workers.source_states import SILENT_AFTER, USUAL_EVENTS, source_states
from hookline.workers.stores.sqlite.event_log import SqliteEventStorage
from tests.events import START, make

ALERTS = Path(__file__).parent.parent / "deploy" / "prometheus" / "alerts.yml"
NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
MINUTE, HOUR, DAY, WEEK = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1), timedelta(weeks=1)


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[EventLog]:
    database = await Database.open(tmp_path / "hookline.db")
    yield EventLog(await SqliteEventStorage.open(database))
    await database.close()


async def receive(log: EventLog, ago: timedelta, number: int = 1) -> None:
    """Events of one source that came so long ago, a second apart."""
    for each in range(number):
        at_s = (NOW - ago - START).total_seconds() + each
        await log.append(make(ParticipantJoined, f"{ago}-{each}", at_s=at_s, user_id="u"))


async def is_silent(log: EventLog) -> bool:
    (state,) = await source_states(log, [make(ParticipantJoined, user_id="u").source], NOW)
    return state.silent


async def test_a_source_has_the_time_of_its_latest_event(log: EventLog) -> None:
    await receive(log, 2 * HOUR)
    await receive(log, 5 * MINUTE)
    source = make(ParticipantJoined, user_id="u").source
    states = await source_states(log, ["never", source], NOW)
    assert [(each.source, each.last_at) for each in states] == [("never", None), (source, NOW - 5 * MINUTE)]


async def test_silence_is_unusual_if_events_came_at_this_time_yesterday(log: EventLog) -> None:
    await receive(log, DAY + 20 * MINUTE, USUAL_EVENTS + 1)
    assert await is_silent(log)


async def test_a_source_that_sent_something_just_now_is_not_silent(log: EventLog) -> None:
    await receive(log, DAY + 20 * MINUTE, USUAL_EVENTS + 1)
    await receive(log, 29 * MINUTE)
    assert not await is_silent(log)


async def test_few_events_yesterday_promise_none_today(log: EventLog) -> None:
    await receive(log, DAY + 20 * MINUTE, USUAL_EVENTS)
    await receive(log, DAY + 40 * MINUTE, USUAL_EVENTS)
    assert not await is_silent(log)


async def test_silence_at_this_time_of_the_week_is_usual(log: EventLog) -> None:
    await receive(log, DAY + 20 * MINUTE, USUAL_EVENTS + 1)
    await receive(log, WEEK + HOUR, USUAL_EVENTS + 1)
    assert not await is_silent(log)
    await receive(log, WEEK + 20 * MINUTE, USUAL_EVENTS + 1)
    assert await is_silent(log)


def test_the_alert_has_the_same_numbers() -> None:
    alert = ALERTS.read_text().partition("alert: HooklineSourceSilent")[2].partition("labels:")[0]
    assert f"hookline_last_received_seconds) > {SILENT_AFTER.total_seconds():.0f}" in alert
    window = f"[{SILENT_AFTER.total_seconds() / 60:.0f}m] offset"
    assert re.findall(re.escape(window) + r" (\w+)\)\) (\S+ \d+)", alert) == [
        ("1d", f"> {USUAL_EVENTS}"),
        ("1w", f"<= {USUAL_EVENTS}"),
    ]
