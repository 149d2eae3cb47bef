"""Dead letters as JSON and as text for a person."""

import base64
from datetime import datetime
from typing import Any

from hookline.cli.dead_letter_selection import kept_since
from hookline.runtime.logs import printable
from hookline.schemas.dead_letters import DeadLetter

_WIDE = 100


def facts(letter: DeadLetter) -> dict[str, Any]:
    """A letter for a machine, but for its body."""
    told: dict[str, Any] = {}
    if (envelope := letter.envelope) is not None:
        told |= {"id": envelope.id, "topic": envelope.topic, "subject": envelope.subject}
        told |= {"provider": envelope.provider, "source": envelope.source}
        told |= {"occurred_at": envelope.occurred_at, "received_at": envelope.received_at}
    told |= {"parked_at": letter.parked_at, "reason": letter.reason, "attempts": letter.attempts}
    return told | {"replays": letter.replays, "detail": letter.detail, "bytes": len(letter.body)}


def all_facts(letter: DeadLetter) -> dict[str, Any]:
    """A letter for a machine, with headers and body; the body in base64 where it is no text."""
    told = facts(letter) | {"content_type": letter.content_type, "headers": dict(letter.headers)}
    try:
        return told | {"body": letter.body.decode()}
    except UnicodeDecodeError:
        return told | {"body_base64": base64.b64encode(letter.body).decode()}


def line(letter: DeadLetter) -> str:
    """A letter in one line."""
    envelope = letter.envelope
    what = f"{envelope.topic}  {printable(envelope.subject)}  {envelope.id}" if envelope else "no envelope of ours"
    tried = f", attempt {letter.attempts}" if letter.attempts else ""
    again = f", replay {letter.replays}" if letter.replays else ""
    why = letter.detail.strip().rpartition("\n")[2]
    said = f": {printable(why[:_WIDE])}" if why else ""
    return f"{_at(kept_since(letter))}  {what}  {printable(letter.reason)}{tried}{again}{said}"


def page(letter: DeadLetter) -> str:
    """All of a letter. Whatever could move the cursor is shown as its code."""
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
    return [f"    {printable(each)}" for each in text.splitlines()]


def _at(time: datetime | None) -> str:
    return time.astimezone().strftime("%Y-%m-%d %H:%M:%S") if time else "-"
