"""Formats the log, as text or as JSON, and logs what a start opened."""

import asyncio
import json
import logging
import os
import sys
import time
import warnings
from typing import Any, TextIO

import click

from hookline.runtime.log_context import logged_facts
from hookline.runtime.log_queue import QueuedHandler
from hookline.schemas.provider import AnySource
from hookline.settings import Settings

log = logging.getLogger("hookline")

_SHOWN_NETWORKS = 3
_WRITTEN_WITHIN_S = 0.1
_NOT_AWAITED = "was never awaited"
_COLOURS = {
    "handled": "green",
    "duplicate": "bright_black",
    "superseded": "bright_black",
    "again": "yellow",
    "parked": "red",
}


def are_colours_wanted() -> bool:
    """Whether a terminal may get colours (https://no-color.org)."""
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def set_up(style: str, stream: TextIO | None = None, process: int | None = None) -> None:
    """Send all logs to stderr, or to this stream, as `text` or `json`.

    With several processes, each line has the process's number.
    """
    stream = stream or sys.stderr  # None while this module is loaded, if a shell has closed it
    handler = QueuedHandler(stream)
    colours = stream.isatty() and are_colours_wanted()
    handler.setFormatter(_JsonLines(process) if style == "json" else _TextLines(process, colours=colours))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    warnings.showwarning = _log_warning  # a line of its own would not be JSON
    for library in ("aiohttp", "psycopg", "watchfiles"):
        logging.getLogger(library).setLevel(logging.ERROR)
    for library in ("aio_pika", "aiormq"):  # each failure to connect is an error to them; ours has the reason
        logging.getLogger(library).setLevel(logging.CRITICAL)


async def log_written() -> None:
    """Wait until the log of this process is written, for a tenth of a second at most: nobody may read it."""
    await asyncio.gather(*(each.written(_WRITTEN_WITHIN_S) for each in queued_handlers()))


def queued_handlers() -> list[QueuedHandler]:
    return [each for each in logging.getLogger().handlers if isinstance(each, QueuedHandler)]


def _log_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Log what Python warns of, such as a coroutine that a worker's function does not await."""
    remedy = "; write `await` before the call" if _NOT_AWAITED in str(message) else ""
    log.warning("%s:%d: %s: %s%s", filename, lineno, category.__name__, printable(message), remedy)


class _JsonLines(logging.Formatter):
    def __init__(self, process: int | None) -> None:
        super().__init__()
        self._process = {} if process is None else {"process": process}

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            **self._process,
            "message": record.getMessage(),
            **logged_facts(),
            **getattr(record, "facts", {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


class _TextLines(logging.Formatter):
    def __init__(self, process: int | None, *, colours: bool) -> None:
        super().__init__()
        self._process = "" if process is None else f"  [{process}]"
        self._colours = colours

    def format(self, record: logging.LogRecord) -> str:
        at = time.strftime("%H:%M:%S", time.localtime(record.created)) + self._process
        facts = getattr(record, "facts", None)
        if facts is not None and "outcome" in facts:
            return f"{at}  {self._delivery(facts)}"
        text = (
            f"{at}  {record.getMessage()}"
            if record.levelno == logging.INFO
            else (f"{at}  {self._paint(record.levelname.lower(), 'red')}: {record.getMessage()}")
        )
        return f"{text}\n{self.formatException(record.exc_info)}" if record.exc_info else text

    def _delivery(self, facts: dict[str, Any]) -> str:
        events = "; ".join(map(_sentence, facts["events"])) or facts.get("topic", "a message without an envelope")
        outcome = self._paint(facts["outcome"], _COLOURS[facts["outcome"]])
        why = (
            f" ({facts['reason']}{': ' + facts['detail'] if facts.get('detail') else ''})" if "reason" in facts else ""
        )
        when = f" in {facts['in_s']:.3g} s" if "in_s" in facts else ""
        attempt = f", attempt {facts['attempt']}" if facts["attempt"] > 1 else ""
        source = facts.get("source", "-")
        late = ", late" if facts.get("late") else ""
        line = f"{source:<12} {events}  → {facts['queue']}: {outcome}{when}{why}{attempt}{late}, {facts['ms']} ms"
        error = facts.get("traceback", facts.get("error", "")).splitlines()
        return "\n".join([line, *(f"    {printable(each)}" for each in error)])

    def _paint(self, text: str, colour: str) -> str:
        return click.style(text, fg=colour) if self._colours else text


def _sentence(event: dict[str, Any]) -> str:
    words = [f"{event['type']:<24}"]
    words += [f"{name}={printable(value)}" for name, value in event.items() if name != "type"]
    return " ".join(words)


def printable(value: Any) -> str:
    """A value as text for one line. A character that could move the cursor or start a line is shown as its code."""
    text = ",".join(value) if isinstance(value, tuple) else str(value)
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else f"\\u{ord(character):04x}" for character in text)


def log_sources(settings: Settings) -> None:
    """Log the sources, and what about the settings may be a mistake."""
    for source in settings.sources.values():
        log.info("source %s of %s: POST /hooks/%s, %s", source.name, source.provider.name, source.name, _proof(source))
    for warning in settings.warnings:
        log.warning("%s", warning)


def _proof(source: AnySource) -> str:
    """What a source asks of a request, in a few words."""
    networks = [*map(str, source.allow_from[:_SHOWN_NETWORKS])]
    if len(source.allow_from) > _SHOWN_NETWORKS:
        networks.append("others")
    signed = f"signed with one of {len(source.keys)} secrets" if len(source.keys) > 1 else "signed with its secret"
    proof = signed if source.keys else "not signed"
    return f"{proof}, from {', '.join(networks)}" if networks else proof


def log_queue(settings: Settings) -> None:
    """Log the last line of a start: everything is open from here on."""
    log.info("queue: %s; Ctrl-C stops", ", ".join(map(without_password, settings.broker.urls)))


def without_password(url: str) -> str:
    """A URL to show. Everything up to the last @ may belong to a password, and a query may hold one."""
    scheme, _, rest = url.partition("?")[0].partition("://")
    login, found, place = rest.rpartition("@")
    user, has_password, _ = login.partition(":")
    return f"{scheme}://{user}{':***' if has_password else ''}@{place}" if found else url.partition("?")[0]
