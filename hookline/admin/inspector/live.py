"""The live view: what comes to the event log and to the audit of refused requests, as server-sent events."""

import asyncio
from collections.abc import AsyncGenerator

import msgspec

from hookline.admin.inspector.reading import Reading
from hookline.admin.inspector.shown import ShownEvent, Shows
from hookline.schemas.errors import HooklineError
from hookline.schemas.refusals import StoredRefusal
from hookline.workers.event_follower import EventFollower

LOOK_EVERY_S = 1.0
MAX_VIEWERS = 4
"""Each viewer looks for itself."""
MAX_AT_ONCE = 200
"""Of what comes within a second, the latest; a message says how many were left out."""


class Live:
    """Messages for one browser after the other, up to four at a time."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._shows = Shows(reading.settings)
        self._viewers = 0

    @property
    def is_full(self) -> bool:
        return self._viewers >= MAX_VIEWERS

    async def messages(self) -> AsyncGenerator[bytes, None]:
        """Until the browser goes. A store that cannot be read costs a message, and is tried again."""
        self._viewers += 1
        try:
            async with self._reading.parts() as parts:
                refused, follower = _Refused(self._reading), None
                while True:
                    try:
                        if follower is None:
                            starting = EventFollower(await parts.event_log())
                            await starting.start()
                            follower = starting
                        events = await follower.new()
                        yield self._batch([self._shows.event(event) for event in events], await refused.new())
                    except HooklineError as error:
                        yield _message("fault", {"text": str(error)})
                    await asyncio.sleep(LOOK_EVERY_S)
        finally:
            self._viewers -= 1

    def _batch(self, events: list[ShownEvent], refused: list[StoredRefusal]) -> bytes:
        """What is new, or a comment that tells a lost connection from a quiet one."""
        shown = [_message("event", event) for event in events[-MAX_AT_ONCE:]]
        shown += [_message("refused", self._shows.refusal(each)) for each in refused[-MAX_AT_ONCE:]]
        left_out = max(len(events) - MAX_AT_ONCE, 0)
        if left_out:
            shown.append(_message("left_out", {"events": left_out}))
        return b"".join(shown) or b": quiet\n\n"


class _Refused:
    """The refused requests that are recorded from now on."""

    def __init__(self, reading: Reading) -> None:
        self._reader = reading.refusals()
        self._last: int | None = None

    async def new(self) -> list[StoredRefusal]:
        if self._reader is None:
            return []
        found = (await asyncio.to_thread(self._reader.list, limit=MAX_AT_ONCE)).refusals
        last, self._last = self._last, max([self._last or 0, *(each.id for each in found)])
        return [] if last is None else [each for each in reversed(found) if each.id > last]


def _message(kind: str, content: object) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (kind.encode(), msgspec.json.encode(content))
