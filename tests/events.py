"""Events for tests that need only a few fields."""

from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from hookline.events import CanonicalEvent

E = TypeVar("E", bound=CanonicalEvent)

START = datetime(2026, 1, 1, tzinfo=UTC)


def make(kind: type[E], event_id: str = "event", /, *, at_s: float = 0, **fields: Any) -> E:
    """An event of this kind, `at_s` seconds after START; `room_id` is "room" unless given or not a field."""
    time = START + timedelta(seconds=at_s)
    if "room_id" in kind.__struct_fields__:
        fields.setdefault("room_id", "room")
    shared = {"provider": "krtc", "source": "krtc-main", "provider_type": "test"}
    return kind(**{"id": event_id, "occurred_at": time, "received_at": time, **shared, **fields})
