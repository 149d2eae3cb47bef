"""A time as a person says it."""

from contextlib import suppress
from datetime import datetime, tzinfo


def age_text(seconds: float) -> str:
    """A time as an operator says it: `45 s`, `12 min`, `3.5 h`, `2 d`."""
    for unit, length_s in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length_s:
            return f"{seconds / length_s:.3g} {unit}"
    return f"{seconds:.0f} s"


def time_text(time: datetime, zone: tzinfo | None = None) -> str:
    """A moment in this zone, by default that of the machine: `2026-01-31 08:00:00`.

    One that no other zone has, at an end of the calendar, stays in its own. Other programs write such times.
    """
    with suppress(OverflowError, ValueError):
        time = time.astimezone(zone)
    return time.strftime("%Y-%m-%d %H:%M:%S")
