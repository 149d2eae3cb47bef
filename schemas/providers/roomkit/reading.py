"""What the other families of callbacks at RoomKit's URL are read into."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from hookline.schemas.drafts import Draft
from hookline.schemas.payload import Id, text


class Reading(NamedTuple):
    """A callback: its events, what tells it apart, its subject, and its time in Unix seconds.

    Without drafts it is kept as unknown. Without facts all its fields are facts.
    """

    drafts: Sequence[Draft]
    facts: tuple[str | int | None, ...]
    subject: str
    occurred_s: float | None


def each_once(accounts: Iterable[Id | None]) -> list[str]:
    """Each account once, sorted, so that each has the same event id in whatever order a re-send lists them."""
    return sorted({text(account) for account in accounts if account is not None})
