"""The people who wait to enter one room, while the room's events are applied in order of time."""

from datetime import datetime
from typing import TypeAlias

import msgspec

from hookline.schemas.events import ParticipantJoined, ParticipantWaiting, ParticipantWaitingEnded

Leaving: TypeAlias = ParticipantWaitingEnded | ParticipantJoined


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who waits to be let in, since `since`. Many providers know only a name of somebody outside."""

    since: datetime
    user_id: str | None = None
    display_name: str | None = None
    connection_id: str | None = None


class WaitingRoom:
    """Who waits. Somebody who joins the room waits no longer, even if no event says so."""

    def __init__(self) -> None:
        self._people: list[Waiting] = []

    def people(self) -> tuple[Waiting, ...]:
        """Everyone, in order of coming."""
        return tuple(self._people)

    def has(self, event: Leaving) -> bool:
        return any(_is_same(waiting, event) for waiting in self._people)

    def enter(self, event: ParticipantWaiting) -> None:
        waiting = Waiting(
            since=event.occurred_at,
            user_id=event.user_id,
            display_name=event.display_name,
            connection_id=event.connection_id,
        )
        if not any(_is_same(other, event) for other in self._people):
            self._people.append(waiting)

    def leave(self, event: Leaving) -> None:
        self._people = [waiting for waiting in self._people if not _is_same(waiting, event)]

    def clear(self) -> None:
        self._people.clear()


def _is_same(waiting: Waiting, event: Leaving | ParticipantWaiting) -> bool:
    """By the connection, or else by the user, or else by the name.

    Some providers give a new connection to somebody who is let in: a join also fits by the user or the name.
    """
    if waiting.connection_id is not None and event.connection_id is not None:
        if waiting.connection_id == event.connection_id:
            return True
        if not isinstance(event, ParticipantJoined):
            return False
    if waiting.user_id is not None and event.user_id is not None:
        return waiting.user_id == event.user_id
    return waiting.display_name is not None and waiting.display_name == event.display_name
