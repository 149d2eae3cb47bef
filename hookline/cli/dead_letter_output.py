"""Dead letters as JSON, as rows of a table, and in full as text."""

import base64
from datetime import datetime
from typing import Any

from hookline.cli.dead_letter_selection import kept_since
from hookline.runtime.logs import printable
from hookline.schemas.dead_letters import DeadLetter

COLUMNS = (("time",), ("topic", "subject", "id"), ("reason", "tries", "detail"))

_MAX_DETAIL = 100


def facts(letter: DeadLetter) -> dict[str, Any]:
    """A dead letter as JSON, without headers and body."""
    found: dict[str, Any] = {}
    if (envelope := letter.envelope) is not None:
        found |= {"id": envelope.id, "topic": envelope.topic, "subject": envelope.subject}
        found |= {"provider": envelope.provider, "source": envelope.source}
        found |= {"occurred_at": envelope.occurred_at, "received_at": envelope.received_at}
    found |= {"parked_at": letter.parked_at, "reason": letter.reason, "attempts": letter.attempts}
    return found | {"replays": letter.replays, "detail": letter.detail, "bytes": len(letter.body)}


def all_facts(letter: DeadLetter) -> dict[str, Any]:
    """A dead letter as JSON, with headers and body. A body that is not UTF-8 is in base64."""
    found = facts(letter) | {"content_type": letter.content_type, "headers": dict(letter.headers)}
    try:
        return found | {"body": letter.body.decode()}
    except UnicodeDecodeError:
        return found | {"body_base64": base64.b64encode(letter.body).decode()}


def row(letter: DeadLetter) -> tuple[str, ...]:
    """The texts for COLUMNS. The detail is the last line of the traceback."""
    envelope = letter.envelope
    event = (envelope.topic, envelope.subject, envelope.id) if envelope else ("no envelope of Hookline", "", "")
    tries = [f"attempt {letter.attempts}"] if letter.attempts else []
    tries += [f"replay {letter.replays}"] if letter.replays else []
    detail = letter.detail.strip().rpartition("\n")[2]
    return (_at(kept_since(letter)), *event, letter.reason, ", ".join(tries), detail[:_MAX_DETAIL])


def page(letter: DeadLetter) -> str:
    """A dead letter in full. A character that could move the cursor is shown as its code."""
    envelope = letter.envelope
    lines = [("id", envelope.id), ("topic", envelope.topic), ("subject", envelope.subject)] if envelope else []
    lines += [("reason", letter.reason), ("attempts", str(letter.attempts)), ("replays", str(letter.replays))]
    if envelope:
        lines += [("occurred", _at(envelope.occurred_at)), ("received", _at(envelope.received_at))]
    lines += [("parked", _at(letter.parked_at)), ("content type", letter.content_type)]
    shown = [f"{name:<14}{printable(value)}" for name, value in lines]
    shown += ["", "detail", *_indented(letter.detail or "(none)")]
    shown += ["", "headers", *(f"    {printable(name)}: {printable(value)}" for name, value in letter.headers.items())]
    return "\n".join(
        [*shown, "", f"body ({len(letter.body)} bytes)", *_indented(letter.body.decode("utf-8", "replace"))]
    )


def _indented(text: str) -> list[str]:
    return [f"    {printable(line)}" for line in text.splitlines()]


def _at(time: datetime | None) -> str:
    return time.astimezone().strftime("%Y-%m-%d %H:%M:%S") if time else "-"
