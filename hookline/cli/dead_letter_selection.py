"""Choosing letters, and showing them to a person or a machine."""

import base64
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from hookline.runtime.logs import printable
from hookline.schemas import topics
from hookline.schemas.dead_letters import Action, DeadLetter

_WIDE = 100


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which letters are meant; what is None leaves it open. Times are those of the parking, or else of the receipt."""

    provider: str | None = None
    source: str | None = None
    topic: str | None = None
    subject: str | None = None
    reason: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    ids: frozenset[str] = frozenset()
    limit: int | None = None

    def includes(self, letter: DeadLetter) -> bool:
        """Whether it is meant, but for the limit. A letter that is no envelope of ours has nothing to be chosen by."""
        return self.reason in (None, letter.reason) and self._in_time(letter) and self._of(letter)

    def _in_time(self, letter: DeadLetter) -> bool:
        time = kept_since(letter)
        if time is None:
            return self.since is None and self.until is None
        return (self.since is None or self.since <= time) and (self.until is None or time <= self.until)

    def _of(self, letter: DeadLetter) -> bool:
        envelope = letter.envelope
        if envelope is None:
            return not self.ids and {self.provider, self.source, self.topic, self.subject} == {None}
        return (
            self.provider in (None, envelope.provider)
            and self.source in (None, envelope.source)
            and self.subject in (None, envelope.subject)
            and (self.topic is None or topics.matches(topics.binding(self.topic), envelope.routing_key))
            and (not self.ids or envelope.id in self.ids)
        )


class Picker:
    """Decides on letters: the action for those that are wanted, up to the limit; the rest stay."""

    def __init__(self, wanted: Wanted, action: Action) -> None:
        self._wanted = wanted
        self._choice = action
        self._left = wanted.limit

    @property
    def is_full(self) -> bool:
        return self._left == 0

    def __call__(self, letter: DeadLetter) -> Action:
        return self._choice if self.picks(letter) else Action.KEEP

    def picks(self, letter: DeadLetter) -> bool:
        """Whether this one is wanted; asked once for each letter, in their order."""
        if self.is_full or not self._wanted.includes(letter):
            return False
        if self._left is not None:
            self._left -= 1
        return True


def kept_since(letter: DeadLetter) -> datetime | None:
    received_at = letter.envelope.received_at if letter.envelope is not None else None
    return letter.parked_at or received_at


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
