"""The fields of every event."""

from datetime import datetime
from typing import TypedDict

import msgspec


class EventHead(TypedDict):
    """The fields that all events share, as keyword arguments for building one."""

    id: str
    provider: str
    source: str
    occurred_at: datetime
    received_at: datetime
    provider_type: str


class CanonicalEvent(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    """The fields of every event.

    `occurred_at` is the provider's time of the event, or its sending time where it gives no other. It is `received_at`
    where the provider gives none, or one before 2015 or more than an hour after the receipt. Both times are aware and
    in UTC. `provider_type` is the provider's own name of the type.
    """

    id: str
    provider: str
    source: str
    occurred_at: datetime
    received_at: datetime
    provider_type: str
