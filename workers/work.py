"""A delivery on its way through a worker: what is handled, and what became of it."""

from collections.abc import Mapping
from typing import Any

import msgspec

from hookline.schemas.broker import Done, Outcome, Received
from hookline.schemas.dead_letters import AGAIN
from hookline.schemas.envelope import Envelope
from hookline.schemas.events import CanonicalEvent

HANDLED, DUPLICATE, SUPERSEDED = Done("handled"), Done("duplicate"), Done("superseded")


class Case(msgspec.Struct, frozen=True):
    """One event of a delivery. `key` is its name in the store.

    `attempt` counts the store's attempts as well as the message's, and `used` those of the store alone. `last`: if the
    function fails, the event is parked, however many attempts are left. `subject` and `occurred_s` are set for a worker
    that asks which events are late.
    """

    event: CanonicalEvent
    key: str
    subject: str | None
    occurred_s: float
    envelope: Envelope
    received: Received
    attempt: int
    last: bool
    used: int = 0


class Held(msgspec.Struct, frozen=True, gc=False):
    """A claim that is released once the delivery is settled, and the failures to count with it.

    Until then no other process handles the event, if the delivery comes to it again. `tried` is the number of the copy
    that is passed on. Normally the store has counted the failures before.
    """

    key: str
    failures: int = 0
    tried: int = 0


class Ending(msgspec.Struct, frozen=True, gc=False):
    """What became of one event of a delivery."""

    outcome: Outcome
    attempt: int
    late: bool = False
    held: tuple[Held, ...] = ()


class Work(msgspec.Struct, frozen=True):
    """What became of one delivery. `envelope` is None for a message that Hookline did not seal.

    The claims in `held` are released by `Pipeline.settle` or `Pipeline.let_go`.
    """

    received: Received
    envelope: Envelope | None
    events: tuple[CanonicalEvent, ...]
    outcome: Outcome
    late: bool = False
    held: tuple[Held, ...] = ()


def event_key(event_id: str, headers: Mapping[str, Any]) -> str:
    """The name of an event in the store: its id, and the name of the replay that wants it handled again, if any."""
    again = headers.get(AGAIN)
    return event_id if again is None else f"{event_id}@{again}"
