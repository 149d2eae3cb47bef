"""DeadLetters: messages that were put aside, as a worker's dead letters or because no queue wanted them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any

from hookline.schemas.envelope import Envelope, from_headers
from hookline.schemas.errors import Unreadable

REPLAYS = "hookline-replays"
REPLAYED_AT = "hookline-replayed-at"
AGAIN = "hookline-again"
UNROUTED = "unrouted"
"""Where to find the events that no queue wanted: a name that no worker's queue can have."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that was put aside, with what is known of why.

    `reason` is the worker's, or `broker` if the broker gave up on it by itself, or `unrouted`; `detail` a traceback.
    `attempts` is how often it was tried, `replays` how often it was given back to its queue before. `body` and
    `headers` are as the worker received them.
    """

    headers: Mapping[str, Any]
    content_type: str
    body: bytes
    reason: str
    detail: str = ""
    attempts: int = 0
    parked_at: datetime | None = None
    replays: int = 0
    envelope: Envelope | None = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "envelope", _envelope(self.headers, self.content_type, self.body))


class Action(Enum):
    """What to do with one letter."""

    KEEP = "keep"
    REPLAY = "replay"
    DROP = "drop"


@dataclass(frozen=True, slots=True)
class Scanned:
    """A letter, and what was done with it."""

    letter: DeadLetter
    action: Action


def replayed_at(headers: Mapping[str, Any]) -> datetime | None:
    """When a message was last given back to its queue by a person."""
    try:
        moment = datetime.fromisoformat(headers[REPLAYED_AT])
    except (KeyError, ValueError, TypeError):
        return None
    return moment if moment.tzinfo is not None else None


def _envelope(headers: Mapping[str, Any], content_type: str, body: bytes) -> Envelope | None:
    try:
        return from_headers(headers, content_type, body)
    except Unreadable:
        return None
