"""What each page of the inspector holds: drawn by its template, and answered as JSON by `/api/…`."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from hookline.admin.inspector.shown import ShownBody, ShownDeadLetter, ShownEvent, ShownRefusal
from hookline.admin.pages import ReadinessPage
from hookline.schemas.refusals import RefusalCount
from hookline.workers.event_log import Place
from hookline.workers.event_states import EventState
from hookline.workers.rooms import RoomView


class Part(msgspec.Struct, frozen=True):
    """A part of a page: what was read, or the sentence that says why it could not be."""

    value: Any = None
    fault: str = ""


class Overview(msgspec.Struct, frozen=True, kw_only=True):
    """The first page."""

    readiness: ReadinessPage
    queues: Part
    unrouted: Part
    spool: Part
    rooms: Part
    refused: Part


class RoomRow(msgspec.Struct, frozen=True):
    """A room in the list, with its latest delivery."""

    place: Place
    received_at: datetime


class RoomsList(msgspec.Struct, frozen=True):
    """Rooms, that with the latest delivery first; `next` is the query of the next page."""

    rooms: Sequence[RoomRow]
    next: str = ""


class RoomPage(msgspec.Struct, frozen=True, kw_only=True):
    """One room: its state now, and its events, the latest first. `partial`: the state is of its latest events only."""

    place: Place
    view: RoomView | None
    partial: bool
    events: Sequence[ShownEvent]
    next: str = ""


class EventsPage(msgspec.Struct, frozen=True, kw_only=True):
    """Events that match a search, the latest first. `next` is the query of the page with those before."""

    asked: Mapping[str, str]
    events: Sequence[ShownEvent]
    next: str = ""
    topics: Sequence[str] = ()
    sources: Sequence[str] = ()


class EventDetails(msgspec.Struct, frozen=True, kw_only=True):
    """One event, what each queue has done with it, and its delivery, as far as the history has it."""

    event: ShownEvent
    queues: Part
    delivery: Part


class QueueRow(msgspec.Struct, frozen=True):
    """What a queue has done with an event. `wanted`: it is bound to such events; None if that cannot be said."""

    state: EventState
    wanted: bool | None
    dead: int


class ShownDelivery(msgspec.Struct, frozen=True):
    """The delivery of an event, from the history."""

    received_at: datetime
    topic: str
    subject: str
    trace: str
    body: ShownBody


class QueuesPage(msgspec.Struct, frozen=True):
    """The queues now."""

    queues: Part
    unrouted: Part
    spool: Part


class DeadPage(msgspec.Struct, frozen=True, kw_only=True):
    """The oldest dead letters of a queue. `more`: there are others; `scanned_all`: all were looked at."""

    queue: str
    asked: Mapping[str, str]
    letters: Sequence[ShownDeadLetter]
    total: int
    more: bool
    scanned_all: bool


class ReplayResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a replay did, or would do."""

    queue: str
    dry_run: bool
    replayed: int
    left: int
    ids: Sequence[str]


class RefusedPage(msgspec.Struct, frozen=True, kw_only=True):
    """Refused requests of this machine, the newest first."""

    asked: Mapping[str, str]
    counts: Sequence[RefusalCount]
    refusals: Sequence[ShownRefusal]
    next: str = ""


class RefusalPage(msgspec.Struct, frozen=True):
    """One refused request. `verdict` is a `Diagnosis` by the settings of this process, where that was asked for."""

    refusal: ShownRefusal
    may_verify: bool
    verdict: Part


class SourceRow(msgspec.Struct, frozen=True, kw_only=True):
    """A source, the path or URL to enter in the provider's console, and the latest event from it."""

    name: str
    provider: str
    url: str
    last: ShownEvent | None
    refused: int


class SourcesPage(msgspec.Struct, frozen=True):
    """All sources. `fault` says why nothing is known of their events."""

    sources: Sequence[SourceRow]
    fault: str = ""
