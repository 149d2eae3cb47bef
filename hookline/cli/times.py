"""Times as an operator writes them."""

import re
from datetime import UTC, datetime, timedelta

import click

_AGO = re.compile(r"(\d{1,9})\s*([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_EXPECTED = "expected how long ago, such as 90s, 30m, 2h, 3d or 1w, or a time with its zone, such as 2026-01-31T12:00Z"


def moment(text: str, now: datetime) -> datetime:
    """A time from `2h` (ago), or from ISO 8601 with a zone. Raises ValueError, whose text says what is expected."""
    ago = _AGO.fullmatch(text.strip())
    try:
        if ago:
            return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        time = datetime.fromisoformat(text.strip())
    except (ValueError, OverflowError):
        raise ValueError(f"{text!r} is no time; {_EXPECTED}") from None
    if time.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone; {_EXPECTED}")
    return time


def as_moment(context: click.Context, parameter: click.Parameter, text: str | None) -> datetime | None:
    """The time that an option was given; one that is so long ago is counted from now."""
    try:
        return None if text is None else moment(text, datetime.now(UTC))
    except ValueError as error:
        raise click.BadParameter(str(error), context, parameter) from None
