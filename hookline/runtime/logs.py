"""What a person, or a machine, reads of what happens: one line for each thing."""

import json
import logging
import sys
import time
from collections.abc import Mapping
from functools import cache
from typing import Any, TextIO

import click

from hookline.schemas.broker import Again, Done, Outcome, Parked
from hookline.schemas.events import CanonicalEvent, event_topic
from hookline.workers.work import Work

events_log = logging.getLogger("hookline.events")

# Free text and everything that is long stays out of logs; identifiers say which event it was.
_SHOWN = (
    "room_id", "user_id", "role", "reason", "duration_s", "platform", "operator_id", "owner_id", "caller_id",
    "callee_ids", "media", "task_id", "segment", "directory", "file_name",
)  # fmt: skip
_NO_FAULT = frozenset({"busy", "retry", "unwanted"})
_COLOURS = {
    "handled": "green",
    "duplicate": "bright_black",
    "superseded": "bright_black",
    "again": "yellow",
    "parked": "red",
}


def set_up(style: str, stream: TextIO = sys.stderr, process: int | None = None) -> None:
    """Send all logs to the stream, as `text` or as `json`; with the number of the process, where there are several."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_JsonLines(process) if style == "json" else _TextLines(process, colours=stream.isatty()))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    for library in ("aio_pika", "aiormq", "aiohttp", "psycopg", "watchfiles"):
        logging.getLogger(library).setLevel(logging.ERROR)


def is_good(outcome: Outcome) -> bool:
    """Whether nothing went wrong: it is done, or comes again through nobody's fault."""
    return isinstance(outcome, Done) or (isinstance(outcome, Again) and outcome.reason in _NO_FAULT)


def report(queue: str, work: Work, seconds: float) -> None:
    """Tell of a settled delivery."""
    level = logging.INFO if is_good(work.outcome) else logging.WARNING
    if events_log.isEnabledFor(level):
        facts = _facts(queue, work, seconds)
        _log(level, facts["outcome"], facts)


def log_together(text: str, facts: Mapping[str, Any]) -> None:
    """Tell of several deliveries together."""
    if events_log.isEnabledFor(logging.INFO):
        _log(logging.INFO, text, facts)


def _log(level: int, text: str, facts: Mapping[str, Any]) -> None:
    """Without looking for the line of code that tells, which is always this one."""
    record = events_log.makeRecord(events_log.name, level, "", 0, text, (), None, extra={"facts": facts})
    events_log.handle(record)


def _facts(queue: str, work: Work, seconds: float) -> dict[str, Any]:
    facts: dict[str, Any] = {"queue": queue, "attempt": work.received.attempt, "ms": round(seconds * 1000, 1)}
    match work.outcome:
        case Done(reason=reason):
            facts["outcome"] = reason
        case Again(delay_s=delay_s, reason=reason, detail=detail):
            facts |= {"outcome": "again", "reason": reason, "detail": detail, "in_s": delay_s}
        case Parked(reason=reason):
            facts |= {"outcome": "parked", "reason": reason}
    if work.envelope is not None:
        envelope = work.envelope
        facts |= {"topic": envelope.topic, "subject": envelope.subject, "id": envelope.id}
        facts["source"] = envelope.source
    if work.late:
        facts["late"] = True
    facts["events"] = [_shown(event) for event in work.events]
    return facts


def _shown(event: CanonicalEvent) -> dict[str, Any]:
    fields = {name: getattr(event, name) for name in _shown_of(type(event))}
    return {"type": event_topic(event), **{name: value for name, value in fields.items() if value is not None}}


@cache
def _shown_of(kind: type[CanonicalEvent]) -> tuple[str, ...]:
    return tuple(name for name in _SHOWN if name in kind.__struct_fields__)


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
        told = (
            "; ".join(_sentence(event) for event in facts["events"]) or f"{facts.get('topic', 'a message of others')}"
        )
        outcome = self._paint(facts["outcome"], _COLOURS[facts["outcome"]])
        why = (
            f" ({facts['reason']}{': ' + facts['detail'] if facts.get('detail') else ''})" if "reason" in facts else ""
        )
        when = f" in {facts['in_s']:g} s" if "in_s" in facts else ""
        attempt = f", attempt {facts['attempt']}" if facts["attempt"] > 1 else ""
        source = facts.get("source", "-")
        late = ", late" if facts.get("late") else ""
        return f"{source:<12} {told}  → {facts['queue']}: {outcome}{when}{why}{attempt}{late}, {facts['ms']} ms"

    def _paint(self, text: str, colour: str) -> str:
        return click.style(text, fg=colour) if self._colours else text


def _sentence(event: dict[str, Any]) -> str:
    words = [f"{event['type']:<24}"]
    words += [f"{name}={printable(value)}" for name, value in event.items() if name != "type"]
    return " ".join(words)


def printable(value: Any) -> str:
    """A value for a line of text: what could move the cursor, or pass for another line, is shown as its code."""
    text = ",".join(value) if isinstance(value, tuple) else str(value)
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else f"\\u{ord(character):04x}" for character in text)
