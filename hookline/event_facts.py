"""An event as short texts, for the command line and the inspector."""

from datetime import datetime
from typing import Any

import msgspec

from hookline.schemas.events import CanonicalEvent

LATE_S = 60.0
"""An event that was received so much later than it occurred is marked as late."""
_HEAD = frozenset(field.name for field in msgspec.structs.fields(CanonicalEvent))


def event_facts(event: CanonicalEvent) -> dict[str, str]:
    """The fields that only this type of event has, as far as the event says something in them."""
    values = {name: getattr(event, name) for name in event.__struct_fields__ if name not in _HEAD}
    return {name: _text(value) for name, value in values.items() if value not in (None, (), {}, "")}


def late_s(event: CanonicalEvent) -> float | None:
    """How much later than it occurred the event was received; None if that is not worth a mark."""
    seconds = (event.received_at - event.occurred_at).total_seconds()
    return seconds if seconds >= LATE_S else None


def _text(value: Any) -> str:
    match value:
        case str():
            return value
        case datetime():
            return value.isoformat(timespec="seconds")
        case tuple() if all(isinstance(each, str) for each in value):
            return ",".join(value)
        case _:
            return msgspec.json.encode(value).decode()
