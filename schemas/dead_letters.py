"""Dead letters: messages that a worker parked or the broker gave up on, and unrouted events."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any, Generic, TypeVar

from hookline.schemas.envelope import Envelope, envelope_of

M = TypeVar("M")

REPLAYS = "hookline-replays"
REPLAYED_AT = "hookline-replayed-at"
AGAIN = "hookline-again"
PARKED_AT = "hookline-parked-at"
EVENTS = "hookline-events"
"""The ids of the events to handle, separated by commas, of a delivery whose other events are finished."""
UNROUTED = "unrouted"
"""The name of the queue of unrouted events. No worker's queue can have it."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that was put aside, with the reason.

    `reason` is the worker's, or `broker` if the broker gave up on the message, or `unrouted`. `detail` is a traceback.
    `attempts` counts how often it was tried, `replays` how often it was replayed before. `body` and `headers` are as
    the worker received them.
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
        object.__setattr__(self, "envelope", envelope_of(self.headers, self.content_type, self.body))

    @property
    def kept_since(self) -> datetime | None:
        """When the message was parked, or received if it was never parked."""
        return self.parked_at or (None if self.envelope is None else self.envelope.received_at)


class Action(Enum):
    """What to do with a dead letter, or with a pending retry: replayed, it is due now."""

    KEEP = "keep"
    REPLAY = "replay"
    DROP = "drop"


@dataclass(frozen=True, slots=True)
class Scanned(Generic[M]):
    """A dead letter or a pending retry, and what was done with it."""

    message: M
    action: Action


def replayed_at(headers: Mapping[str, Any]) -> datetime | None:
    """When a message was last replayed; None if it never was."""
    try:
        moment = datetime.fromisoformat(headers[REPLAYED_AT])
    except (KeyError, ValueError, TypeError):
        return None
    return moment if moment.tzinfo is not None else None
