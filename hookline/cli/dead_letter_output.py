"""Dead letters as JSON, as rows of a table, and in full as text."""

import base64
from datetime import datetime
from typing import Any

from hookline.cli.dead_letter_selection import kept_since
from hookline.runtime.logs import printable
from hookline.schemas.dead_letters import DeadLetter

COLUMNS = (("time",), ("topic", "subject", "id"), ("reason", "tries", "detail"))

_MAX_DETAIL = 100


def facts(dead_letter: DeadLetter) -> dict[str, Any]:
    """A dead letter as JSON, without headers and body."""
    found: dict[str, Any] = {}
    if (envelope := dead_letter.envelope) is not None:
        found |= {"id": envelope.id, "topic": envelope.topic, "subject": envelope.subject}
        found |= {"provider": envelope.provider, "source": envelope.source}
        found |= {"occurred_at": envelope.occurred_at, "received_at": envelope.received_at}
    found |= {"parked_at": dead_letter.parked_at, "reason": dead_letter.reason, "attempts": dead_letter.attempts}
    return found | {"replays": dead_letter.replays, "detail": dead_letter.detail, "bytes": len(dead_letter.body)}


def all_facts(dead_letter: DeadLetter) -> dict[str, Any]:
    """A dead letter as JSON, with headers and body. A body that is not UTF-8 is in base64."""
    found = facts(dead_letter) | {"content_type": dead_letter.content_type, "headers": dict(dead_letter.headers)}
    try:
        return found | {"body": dead_letter.body.decode()}
    except UnicodeDecodeError:
        return found | {"body_base64": base64.b64encode(dead_letter.body).decode()}


def row(dead_letter: DeadLetter) -> tuple[str, ...]:
    """The texts for COLUMNS. The detail is the last line of the traceback."""
    envelope = dead_letter.envelope
    event = (envelope.topic, envelope.subject, envelope.id) if envelope else ("no envelope of Hookline", "", "")
    tries = [f"attempt {dead_letter.attempts}"] if dead_letter.attempts else []
    tries += [f"replay {dead_letter.replays}"] if dead_letter.replays else []
    detail = dead_letter.detail.strip().rpartition("\n")[2]
    return (_at(kept_since(dead_letter)), *event, dead_letter.reason, ", ".join(tries), detail[:_MAX_DETAIL])


def page(dead_letter: DeadLetter) -> str:
    """A dead letter in full. A character that could move the cursor is shown as its code."""
    envelope = dead_letter.envelope
    lines = [("id", envelope.id), ("topic", envelope.topic), ("subject", envelope.subject)] if envelope else []
    lines += [
        ("reason", dead_letter.reason),
        ("attempts", str(dead_letter.attempts)),
        ("replays", str(dead_letter.replays)),
    ]
    if envelope:
        lines += [("occurred", _at(envelope.occurred_at)), ("received", _at(envelope.received_at))]
    lines += [("parked", _at(dead_letter.parked_at)), ("content type", dead_letter.content_type)]
    shown = [f"{name:<14}{printable(value)}" for name, value in lines]
    shown += ["", "detail", *_indented(dead_letter.detail or "(none)")]
    shown += [
        "",
        "headers",
        *(f"    {printable(name)}: {printable(value)}" for name, value in dead_letter.headers.items()),
    ]
    return "\n".join(
        [*shown, "", f"body ({len(dead_letter.body)} bytes)", *_indented(dead_letter.body.decode("utf-8", "replace"))]
    )


def _indented(text: str) -> list[str]:
    return [f"    {printable(line)}" for line in text.splitlines()]


def _at(time: datetime | None) -> str:
    return time.astimezone().strftime("%Y-%m-%d %H:%M:%S") if time else "-"
