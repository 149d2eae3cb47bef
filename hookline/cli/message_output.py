"""Dead letters and pending retries as JSON, as rows of a table, and in full as text."""

import base64
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from hookline.age import time_text
from hookline.cli.message_selection import Message
from hookline.cli.output import shortened, titled
from hookline.runtime.logs import printable
from hookline.schemas.dead_letters import DeadLetter
from hookline.schemas.envelope import Envelope
from hookline.schemas.retries import PendingRetry

DEAD_COLUMNS = (("time", "topic"), ("subject", "id"), ("reason", "tries", "detail"))
RETRY_COLUMNS = (("due", "topic"), ("subject", "id"), ("reason", "next", "error"))

_MAX_DETAIL = 100


def dead_facts(dead_letter: DeadLetter) -> dict[str, Any]:
    """A dead letter as JSON, without headers and body."""
    found = _facts(dead_letter.envelope)
    found |= {"parked_at": dead_letter.parked_at, "reason": dead_letter.reason, "attempts": dead_letter.attempts}
    return found | {"replays": dead_letter.replays, "detail": dead_letter.detail, "bytes": len(dead_letter.body)}


def retry_facts(retry: PendingRetry) -> dict[str, Any]:
    """A pending retry as JSON, without headers and body."""
    found = _facts(retry.envelope) | {"due_at": retry.due_at, "attempt": retry.attempt}
    return found | {"reason": retry.reason, "error": retry.error, "bytes": len(retry.body)}


def _facts(envelope: Envelope | None) -> dict[str, Any]:
    if envelope is None:
        return {}
    found: dict[str, Any] = {"id": envelope.id, "topic": envelope.topic, "subject": envelope.subject}
    found |= {"provider": envelope.provider, "source": envelope.source}
    return found | {"occurred_at": envelope.occurred_at, "received_at": envelope.received_at}


def content(message: Message) -> dict[str, Any]:
    """Headers and body of a message as JSON. A body that is not UTF-8 is in base64."""
    found = {"content_type": message.content_type, "headers": dict(message.headers)}
    try:
        return found | {"body": message.body.decode()}
    except UnicodeDecodeError:
        return found | {"body_base64": base64.b64encode(message.body).decode()}


def dead_row(dead_letter: DeadLetter) -> tuple[str, ...]:
    """The texts for DEAD_COLUMNS. The detail is the last line of the traceback."""
    tries = [f"attempt {dead_letter.attempts}"] if dead_letter.attempts else []
    tries += [f"replay {dead_letter.replays}"] if dead_letter.replays else []
    event, detail = _event(dead_letter.envelope), _summary(dead_letter.detail)
    return (_at(dead_letter.kept_since), *event, dead_letter.reason, ", ".join(tries), detail)


def retry_row(retry: PendingRetry) -> tuple[str, ...]:
    """The texts for RETRY_COLUMNS. The error is the last line of the traceback."""
    event, error = _event(retry.envelope), _summary(retry.error)
    return (_at(retry.due_at), *event, retry.reason, f"attempt {retry.attempt}", error)


def _event(envelope: Envelope | None) -> tuple[str, str, str]:
    return (envelope.topic, envelope.subject, envelope.id) if envelope else ("no envelope of Hookline", "", "")


def _summary(error: str) -> str:
    return shortened(error.strip().rpartition("\n")[2], _MAX_DETAIL)


def dead_page(dead_letter: DeadLetter) -> str:
    """A dead letter in full."""
    lines = [("reason", dead_letter.reason), ("attempts", str(dead_letter.attempts))]
    lines += [("replays", str(dead_letter.replays)), *_times(dead_letter.envelope)]
    lines += [("parked", _at(dead_letter.parked_at))]
    return _page(dead_letter, lines, "detail", dead_letter.detail)


def retry_page(retry: PendingRetry) -> str:
    """A pending retry in full."""
    lines = [("reason", retry.reason or "-"), ("next attempt", str(retry.attempt)), ("due", _at(retry.due_at))]
    return _page(retry, lines + _times(retry.envelope), "error", retry.error)


def _page(message: Message, lines: Sequence[tuple[str, str]], heading: str, error: str) -> str:
    """A message in full. A character that could move the cursor is shown as its code."""
    envelope = message.envelope
    event = [("id", envelope.id), ("topic", envelope.topic), ("subject", envelope.subject)] if envelope else []
    named = [*event, *lines, ("content type", message.content_type)]
    shown = [titled(name, printable(value), 14) for name, value in named]
    shown += ["", heading, *_indented(error or "(none)"), "", "headers"]
    shown += [f"    {printable(name)}: {printable(value)}" for name, value in message.headers.items()]
    body = _indented(message.body.decode("utf-8", "replace"))
    return "\n".join([*shown, "", f"body ({len(message.body)} bytes)", *body])


def _times(envelope: Envelope | None) -> list[tuple[str, str]]:
    return [("occurred", _at(envelope.occurred_at)), ("received", _at(envelope.received_at))] if envelope else []


def _indented(text: str) -> list[str]:
    return [f"    {printable(line)}" for line in text.splitlines()]


def _at(time: datetime | None) -> str:
    return time_text(time) if time else "-"
