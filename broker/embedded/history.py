"""The history of the embedded broker, read and fed to workers again."""

import json
import sqlite3
from collections.abc import AsyncGenerator, Mapping, Sequence
from datetime import datetime
from functools import partial

from hookline.broker.embedded import history_tables as history
from hookline.broker.embedded import tables
from hookline.schemas import topics
from hookline.schemas.broker import Retention
from hookline.schemas.envelope import Envelope, from_headers, to_headers
from hookline.schemas.errors import SettingsError, UnknownQueue
from hookline.sqlite.database import Database

_PAGE = 64


class EmbeddedHistory:
    """Implements `schemas.broker.History`. Pages are ordered by the time of receipt."""

    def __init__(self, database: Database, retention: Retention, max_bytes: int) -> None:
        self._database = database
        self._retention = retention
        self._max_bytes = max_bytes

    async def wanted_by(self, queue: str) -> frozenset[str]:
        name = topics.queue_name(topics.check_queue(queue))
        keys = await self._database.run(partial(tables.bound_to, queue=name))
        if not keys:
            raise UnknownQueue(queue)
        return keys

    async def read(self, since: datetime, until: datetime) -> AsyncGenerator[Sequence[Envelope], None]:
        if not self._retention.enabled and await self._database.run(history.is_empty):
            raise SettingsError("history.enabled: it is off, and nothing was kept")
        last = await self._database.run(history.last)
        place = (since.timestamp(), 0)
        while True:
            step = partial(history.read, after=place, until_s=until.timestamp(), last=last, limit=_PAGE)
            page = await self._database.run(step)
            if not page:
                return
            place = page[-1].place
            yield [from_headers(json.loads(kept.headers), kept.content_type, kept.body) for kept in page]

    async def feed(self, queue: str, envelopes: Sequence[Envelope], headers: Mapping[str, str]) -> None:
        step = partial(
            _feed,
            queue=topics.queue_name(queue),
            envelopes=envelopes,
            extra_headers=headers,
            max_bytes=self._max_bytes,
        )
        await self._database.run(step)


def _feed(
    connection: sqlite3.Connection,
    *,
    queue: str,
    envelopes: Sequence[Envelope],
    extra_headers: Mapping[str, str],
    max_bytes: int,
) -> None:
    """Store copies, since the originals may still be in this queue or among its dead letters."""
    tables.check_room(connection, tables.state(connection), max_bytes)
    for envelope in envelopes:
        headers = json.dumps({**to_headers(envelope), **extra_headers}, ensure_ascii=False)
        tables.put(connection, queue, (envelope.routing_key, headers, envelope.content_type, envelope.body))
