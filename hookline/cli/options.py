"""Options that several commands share, and the times that an operator gives them."""

import os
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import click

from hookline.schemas import topics
from hookline.settings import DEFAULT_PATH

Command = TypeVar("Command", bound=Callable[..., Any])

_AGO = re.compile(r"(\d{1,9})\s*([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_LEAST_WORDS = 3  # provider, source, unreadable
_EXPECTED = "expected a time ago, such as 90s, 30m, 2h, 3d or 1w, or a time with a time zone, such as 2026-01-31T12:00Z"


def config_option(command: Command) -> Command:
    return click.option(
        "--config",
        type=click.Path(dir_okay=False, readable=False, path_type=Path),  # what reads it says more
        default=lambda: os.environ.get("HOOKLINE_CONFIG") or DEFAULT_PATH,
        show_default="$HOOKLINE_CONFIG, else ./hookline.toml",
        callback=_named,
        help="The settings file.",
    )(command)


def _named(context: click.Context, parameter: click.Parameter, config: Path) -> Path:
    if config == Path():
        raise click.BadParameter("it is empty; is the variable that names the file set?", context, parameter)
    return config


def is_named(config: Path) -> bool:
    """Whether the settings file was named by the option or the environment, and is not the default."""
    return config != Path(DEFAULT_PATH)


def log_option(command: Command) -> Command:
    return click.option(
        "--log",
        "log_style",
        type=click.Choice(["text", "json"]),
        default="text",
        show_default=True,
        help="Log lines as readable text, or as JSON objects.",
    )(command)


def fail_fast_option(command: Command) -> Command:
    return click.option(
        "--fail-fast",
        is_flag=True,
        help="Exit with code 3 if the broker or the store is away, or its file is locked, instead of waiting for it.",
    )(command)


def json_option(command: Command) -> Command:
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, one object on each line.")(command)


def moment(text: str, now: datetime) -> datetime:
    """The time that a text such as `2h` (ago) or ISO 8601 with a time zone stands for.

    Raises ValueError with a text that says what is expected.
    """
    ago = _AGO.fullmatch(text.strip())
    try:
        if ago:
            return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        time = datetime.fromisoformat(text.strip())
    except (ValueError, OverflowError):
        raise ValueError(f"{text!r} is not a time; {_EXPECTED}") from None
    if time.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone; {_EXPECTED}")
    return time


def as_moment(context: click.Context, parameter: click.Parameter, text: str | None) -> datetime | None:
    """The time that an option was given. `2h` means two hours before now."""
    try:
        return None if text is None else moment(text, datetime.now(UTC))
    except ValueError as error:
        raise click.BadParameter(str(error), context, parameter) from None


def as_queue(context: click.Context, parameter: click.Parameter, name: str | None) -> str | None:
    """The name of a worker's queue that an argument was given."""
    try:
        return None if name is None else topics.check_queue(name)
    except ValueError as error:
        remedy = "`hookline status` shows the queues, and `hookline unrouted list` the unrouted events"
        raise click.BadParameter(f"{error}; {remedy}", context, parameter) from None


def as_pattern(context: click.Context, parameter: click.Parameter, text: str | None) -> str | None:
    """The pattern of topics that an option was given."""
    if text is None:
        return None
    try:
        topics.binding(text)
    except ValueError as error:
        raise click.BadParameter(str(error), context, parameter) from None
    words = text.split(".")
    if "#" not in words and len(words) < _LEAST_WORDS:
        said = f"topic {text!r} matches no event: it is <provider>.<source>.<entity>.<action>, as in *.*.room.created"
        raise click.BadParameter(said, context, parameter)
    return text
