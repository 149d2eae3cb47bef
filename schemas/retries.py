"""Pending retries: messages that a worker could not handle yet, and that wait for their next attempt."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from hookline.schemas.envelope import Envelope, envelope_of

MAX_ERROR_BYTES = 4096
"""How much of an error is kept with a message that waits: its end, some forty lines. In a bad deploy every event may
wait, with an error each, so that it may not be much more than the event itself."""


@dataclass(frozen=True, slots=True)
class PendingRetry:
    """A message that waits for its next attempt, and why.

    `attempt` is the number that its next attempt has. `due_at` is when that begins at the earliest: the message may
    return later if the broker is away then. `reason` and `error` are those of the last attempt. `error` is a traceback.
    All three are unknown for a message of an older version. `body` and `headers` are as the worker received them.
    """

    headers: Mapping[str, Any]
    content_type: str
    body: bytes
    attempt: int
    due_at: datetime | None = None
    reason: str = ""
    error: str = ""
    envelope: Envelope | None = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "envelope", envelope_of(self.headers, self.content_type, self.body))

    @property
    def kept_since(self) -> datetime | None:
        """When the message was received."""
        return None if self.envelope is None else self.envelope.received_at


def end_of(text: str, max_bytes: int = MAX_ERROR_BYTES) -> str:
    """As much of the end as fits, since a traceback ends with the error. A lone surrogate becomes its code."""
    return text.encode(errors="backslashreplace")[-max_bytes:].decode(errors="ignore")
