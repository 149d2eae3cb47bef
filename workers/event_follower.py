"""Follows the event log: what comes to it from now on, in order of receipt."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from hookline.schemas.events import Event
from hookline.workers.bounded_dict import BoundedDict
from hookline.workers.event_log import MAX_LIMIT, EventLog

_OVERLAP = timedelta(seconds=60)
_REMEMBERED = 10 * MAX_LIMIT
_EVER = datetime(1970, 1, 2, tzinfo=UTC)


class EventFollower:
    """Reads what is new. The log has no order of arrival, so each look reads some of what was received before, too.

    An event is missed if it comes to the log more than a minute after one that was received later.
    """

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._since = _EVER
        self._newest = _EVER
        self._seen = BoundedDict[str, None](_REMEMBERED)

    async def start(self) -> None:
        """Take what is in the log as seen. Raises Unreachable."""
        page = await self._log.received(_EVER, limit=MAX_LIMIT)
        self._note(page.events[::-1])
        if page.cursor is not None:
            self._since = page.events[-1].received_at

    async def new(self) -> list[Event]:
        """What has come since the last look, in order of receipt. Raises Unreachable."""
        unseen = await self._unseen()
        self._note(unseen)
        return unseen

    def _note(self, events: Sequence[Event]) -> None:
        for event in events:
            self._seen.note(event.id, None)
            self._newest = max(self._newest, event.received_at)

    async def _unseen(self) -> list[Event]:
        """Page by page, up to the first page without a new event."""
        since, cursor, unseen = max(self._newest - _OVERLAP, self._since), None, list[Event]()
        while True:
            page = await self._log.received(since, limit=MAX_LIMIT, cursor=cursor)
            new = [event for event in page.events if event.id not in self._seen]
            unseen, cursor = unseen + new, page.cursor
            if cursor is None or not new or len(unseen) >= _REMEMBERED:
                return unseen[::-1]
