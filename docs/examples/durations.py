"""How long each participant stayed, whatever provider tells it: one row for each stay, in an SQLite file."""

import asyncio
import os
import sqlite3
from contextlib import closing
from pathlib import Path

from hookline import worker
from hookline.events import ParticipantJoined, ParticipantLeft, RoomEnded

FILE = Path(os.environ.get("DURATIONS_FILE", "durations.db"))
TABLE = """
CREATE TABLE IF NOT EXISTS stays (id TEXT PRIMARY KEY, source TEXT NOT NULL, room TEXT NOT NULL, person TEXT NOT NULL,
  connection TEXT, joined_at REAL NOT NULL, left_at REAL, left_id TEXT UNIQUE)
"""
JOIN = """
INSERT OR IGNORE INTO stays SELECT :id, :source, :room, :person, :connection, :at, NULL, NULL WHERE NOT EXISTS (
  SELECT 1 FROM stays WHERE source = :source AND room = :room AND person = :person AND left_at IS NULL
  AND connection IS :connection)
"""
LEAVE = """
UPDATE OR IGNORE stays SET left_at = :at, left_id = :id WHERE id = (
  SELECT id FROM stays WHERE source = :source AND room = :room AND person = :person AND left_at IS NULL
  AND (connection IS :connection OR connection IS NULL OR :connection IS NULL)
  ORDER BY connection IS :connection DESC, joined_at LIMIT 1)
"""
ONLY_A_LEAVE = """
INSERT OR IGNORE INTO stays SELECT :id, :source, :room, :person, :connection, :began, :at, :id WHERE NOT EXISTS (
  SELECT 1 FROM stays WHERE source = :source AND room = :room AND person = :person AND left_at > :began + 1)
"""
END = "UPDATE stays SET left_at = :at WHERE source = :source AND room = :room AND left_at IS NULL"


@worker(ParticipantJoined, ParticipantLeft, RoomEnded, queue="attendance", ordered=True, reorder_s=5)
async def attendance(event: ParticipantJoined | ParticipantLeft | RoomEnded) -> None:
    """Note one event. The events of a room come in order, and a repeat of one changes nothing."""
    if isinstance(event, ParticipantJoined | ParticipantLeft) and event.kind == "robot":
        return  # a recorder, and no participant
    await asyncio.to_thread(note, event)


def note(event: ParticipantJoined | ParticipantLeft | RoomEnded) -> None:
    """Return once the row is on the disk. It blocks, so it runs in a thread."""
    at = event.occurred_at.timestamp()
    facts = {"id": event.id, "source": event.source, "room": event.room_id, "at": at}
    with closing(sqlite3.connect(FILE)) as database, database:
        database.execute(TABLE)
        if isinstance(event, RoomEnded):
            database.execute(END, facts)
            return
        facts |= {"person": event.user_id, "connection": event.connection_id}
        if isinstance(event, ParticipantJoined):
            database.execute(JOIN, facts)
        elif not database.execute(LEAVE, facts).rowcount and event.duration_s is not None:
            began = at - event.duration_s
            database.execute(ONLY_A_LEAVE, facts | {"began": began})  # its join never came, unless its room ended
