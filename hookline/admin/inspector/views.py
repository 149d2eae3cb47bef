"""The inspector's pages as data: what a template draws, and what `/api/…` answers as JSON.

Every page is bounded: it costs what it shows, or ends after so many events and says so.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from datetime import timedelta
from typing import Any, TypeVar

from hookline.admin.inspector.asked import (
    PAGE,
    SEARCHED,
    Asked,
    limit_of,
    needed,
    next_query,
    number_of,
    query_of,
    queue_of,
)
from hookline.admin.inspector.contents import (
    DeadPage,
    EventDetails,
    EventsPage,
    Overview,
    Part,
    QueueRow,
    QueuesPage,
    RefusalPage,
    RefusedPage,
    ReplayResult,
    RoomPage,
    RoomRow,
    RoomsList,
    ShownDelivery,
    SourceRow,
    SourcesPage,
)
from hookline.admin.inspector.reading import Parts, Reading
from hookline.admin.inspector.shown import ShownDeadLetter, ShownEvent, Shows
from hookline.admin.pages import ReadinessPage
from hookline.audit.reader import RefusalFilter, RefusalReader
from hookline.schemas import topics
from hookline.schemas.broker import History
from hookline.schemas.dead_letters import Action, DeadLetter
from hookline.schemas.errors import HooklineError, SettingsError, Unreachable
from hookline.schemas.events import EVENT_TYPES, Event, event_topic
from hookline.schemas.refusals import RefusalCount, RefusedRequest
from hookline.workers.event_log import EventLog, Place, Query
from hookline.workers.rooms import view

T = TypeVar("T")

ROOM_EVENTS = 5000
"""A room's state is computed from so many of its latest events at most."""
SCANNED_EVENTS = 5000
SCANNED_DEAD_LETTERS = 2000
_HISTORY_S = 5.0
_SPOOL_BYTES = 64 * 2**20
"""The first page counts no larger spool."""
_ASKED_QUEUES = 20
"""How many queues are asked whether they want an event."""
_AROUND = timedelta(milliseconds=1)


class NotFound(Exception):
    """There is no such thing, or no longer; the text says what."""


class Views:
    """Makes the pages. Every method raises Unreachable, SettingsError, WrongQuestion or NotFound."""

    def __init__(self, reading: Reading, readiness: Callable[[], Awaitable[ReadinessPage]]) -> None:
        self._reading = reading
        self._settings = reading.settings
        self._readiness = readiness
        self._shows = Shows(reading.settings)

    async def overview(self, _: Asked) -> Overview:
        return Overview(
            readiness=await self._readiness(),
            queues=await _part(self._reading.queues()),
            unrouted=await _part(self._reading.unrouted()),
            spool=await _part(self._reading.spool(max_bytes=_SPOOL_BYTES)),
            rooms=await _part(self.rooms({"limit": "10"})),
            refused=await _part(self._refused_counts()),
        )

    async def queues(self, _: Asked) -> QueuesPage:
        reading = self._reading
        queues, unrouted = await _part(reading.queues()), await _part(reading.unrouted())
        return QueuesPage(queues, unrouted, await _part(reading.spool()))

    async def rooms(self, asked: Asked) -> RoomsList:
        async with self._log() as log:
            page = await log.rooms(limit=limit_of(asked), cursor=asked.get("cursor") or None)
        rows = [RoomRow(*each) for each in zip(page.places, page.received_at, strict=True)]
        return RoomsList(rows, next_query({}, page.cursor))

    async def room(self, asked: Asked) -> RoomPage:
        place = Place(needed(asked, "provider"), needed(asked, "source"), needed(asked, "id"))
        async with self._log() as log:
            query = Query(room_id=place.room_id, source=place.source)
            page = await log.search(
                query, limit=limit_of(asked), cursor=asked.get("cursor") or None, scan_limit=SCANNED_EVENTS
            )
            if not page.events and not asked.get("cursor"):
                raise NotFound(f"The event log has no events of a room {place.room_id} of {place.source}.")
            events, shown = await _latest_of(log, query), await self._in_order(log, page.events)
        rooms = await asyncio.to_thread(view, events)
        mine = [each for each in rooms if (each.provider, each.source, each.room_id) == tuple_of(place)]
        return RoomPage(
            place=place,
            view=self._shows.room(mine[0]) if mine else None,
            partial=len(events) >= ROOM_EVENTS,
            events=shown,
            next=next_query(asked, page.cursor),
        )

    async def events(self, asked: Asked) -> EventsPage:
        given = {name: text for name in SEARCHED if (text := asked.get(name, "").strip())}
        query, cursor = query_of(given), asked.get("cursor") or None
        async with self._log() as log:
            page = await log.search(query, limit=limit_of(asked), cursor=cursor, scan_limit=SCANNED_EVENTS)
            shown = await self._in_order(log, page.events)
        return EventsPage(
            asked=given,
            events=shown,
            next=next_query(given, page.cursor),
            topics=[*EVENT_TYPES],
            sources=self._settings.source_names,
        )

    async def event(self, asked: Asked) -> EventDetails:
        event_id = needed(asked, "id")
        async with self._reading.parts() as parts:
            log = await parts.event_log()
            event = await log.get(event_id)
            if event is None:
                raise NotFound(f"The event log has no event {event_id}, or no longer.")
            return EventDetails(
                event=self._shows.event(event, repeats=(await log.repeats([event_id])).get(event_id, 0)),
                queues=await _part(self._queue_rows(parts, event)),
                delivery=await _part(self._delivery(parts, event)) if asked.get("delivery") else Part(),
            )

    async def dead(self, asked: Asked) -> DeadPage:
        queue = queue_of(asked)
        async with self._reading.parts() as parts:
            dead_letters = (await parts.broker()).dead_letters
            total = await dead_letters.count(queue)
            found, scanned = list[ShownDeadLetter](), 0
            async with aclosing(dead_letters.scan(queue, lambda _: Action.KEEP)) as scanning:
                async for each in scanning:
                    scanned += 1
                    if _is_wanted(each.message, asked):
                        found.append(self._shows.dead_letter(each.message))
                    if len(found) > PAGE or scanned == SCANNED_DEAD_LETTERS:
                        break
        given = {name: asked[name] for name in ("id", "reason") if asked.get(name)}
        return DeadPage(
            queue=queue,
            asked=given,
            letters=found[:PAGE],
            total=total,
            more=len(found) > PAGE,
            scanned_all=scanned < SCANNED_DEAD_LETTERS,
        )

    async def replay(self, asked: Asked) -> ReplayResult:
        """Replay the dead letters that match, at most a page of them; or show which those would be."""
        queue, dry_run = queue_of(asked), asked.get("dry_run") == "yes"
        action, chosen, ids = Action.KEEP if dry_run else Action.REPLAY, list[DeadLetter](), list[str]()

        def decide(dead: DeadLetter) -> Action:
            """The broker asks for many ahead of what it yields."""
            if len(chosen) == PAGE or not _is_wanted(dead, asked):
                return Action.KEEP
            chosen.append(dead)
            return action

        async with self._reading.parts() as parts:
            dead_letters, scanned, passed = (await parts.broker()).dead_letters, 0, 0
            async with aclosing(dead_letters.scan(queue, decide)) as scanning:
                async for each in scanning:
                    scanned += 1
                    if any(each.message is one for one in chosen):
                        passed += 1
                        if each.action is action:
                            ids.append(each.message.envelope.id if each.message.envelope else "")
                    if scanned == SCANNED_DEAD_LETTERS or passed == PAGE:
                        break
            total = await dead_letters.count(queue)
        return ReplayResult(queue=queue, dry_run=dry_run, replayed=len(ids), left=total, ids=ids)

    async def refused(self, asked: Asked) -> RefusedPage:
        given = {name: asked[name] for name in ("source", "reason") if asked.get(name)}
        source = "" if given.get("source") == "-" else given.get("source")
        reader, cursor = self._refusals(), number_of(asked, "cursor")

        def read() -> RefusedPage:
            page = reader.list(RefusalFilter(source, given.get("reason")), limit=PAGE, cursor=cursor)
            shown = [self._shows.refusal(each) for each in page.refusals]
            following = next_query(given, None if page.cursor is None else str(page.cursor))
            return RefusedPage(asked=given, counts=reader.counts(), refusals=shown, next=following)

        return await asyncio.to_thread(read)

    async def refusal(self, asked: Asked) -> RefusalPage:
        reader, number = self._refusals(), number_of(asked, "id")
        found = None if number is None else await asyncio.to_thread(reader.get, number)
        if found is None:
            raise NotFound("There is no such refused request, or no longer.")
        sources = self._settings.sources  # workers read none
        verdict = await _part(self._verdict(found.request)) if sources and asked.get("verify") else Part()
        return RefusalPage(self._shows.refusal(found), bool(sources), verdict)

    async def sources(self, _: Asked) -> SourcesPage:
        refused = await _part(self._refused_counts())
        counts = {each.source: 0 for each in refused.value or ()}
        for each in refused.value or ():
            counts[each.source] += each.count
        lasts, fault = dict[str, Event | None](), ""
        try:
            async with self._log() as log:
                for name in self._settings.source_names:
                    found = (await log.search(Query(source=name), limit=1)).events
                    lasts[name] = found[0] if found else None
        except HooklineError as error:
            fault = str(error)
        names = self._settings.source_names
        return SourcesPage([self._source(name, lasts.get(name), counts.get(name, 0)) for name in names], fault)

    def _source(self, name: str, last: Event | None, refused: int) -> SourceRow:
        source = self._settings.sources.get(name)  # workers read none
        provider = source.provider.title if source else last.provider if last else ""
        return SourceRow(
            name=name,
            provider=provider,
            url=(source.public_url if source else "") or f"/hooks/{name}",
            last=None if last is None else self._shows.event(last),
            refused=refused,
        )

    def _log(self) -> "_Log":
        return _Log(self._reading)

    async def _queue_rows(self, parts: Parts, event: Event) -> Sequence[QueueRow]:
        """Those that want the event, or have done something with it, first."""
        dead = {each.queue: each.dead for each in await self._reading.queues()}
        states = await (await parts.event_states()).of(event.id, [*dead])
        history = (await parts.broker()).history
        unseen = [each.queue for each in states if each.state == "unknown"][:_ASKED_QUEUES]
        wanted = {queue: await _wants(history, queue, event) for queue in unseen}
        rows = [QueueRow(each, wanted.get(each.queue), dead[each.queue]) for each in states]
        return sorted(rows, key=lambda row: row.wanted is False)

    async def _delivery(self, parts: Parts, event: Event) -> ShownDelivery | None:
        """The delivery in the history, if it is found within a few seconds."""
        history, wanted = (await parts.broker()).history, event.id.partition(":")[0]
        try:
            async with asyncio.timeout(_HISTORY_S):
                pages = history.read(event.received_at - _AROUND, event.received_at + _AROUND)
                async with aclosing(pages) as reading:
                    async for page in reading:
                        for envelope in page:
                            if envelope.id == wanted:
                                body = self._shows.body(envelope.body, envelope.content_type, envelope)
                                return ShownDelivery(
                                    envelope.received_at, envelope.topic, envelope.subject, envelope.traceparent, body
                                )
        except TimeoutError:
            raise Unreachable(f"it was not found in the history within {_HISTORY_S:g} s") from None
        return None

    async def _refused_counts(self) -> Sequence[RefusalCount]:
        reader = self._reading.refusals()
        return () if reader is None else await asyncio.to_thread(reader.counts)

    async def _verdict(self, request: RefusedRequest) -> Any:
        """The steps of the ingress for the request, tried again in a thread: it may be large."""
        from hookline.diagnosis.refused import diagnose_refused, source_now  # noqa: PLC0415  slow to load
        from hookline.diagnosis.steps import Circumstances  # noqa: PLC0415  see above

        settings = self._settings
        around = Circumstances(settings.sources, settings.trusted_proxies, request.at_s, request.peer)
        source = source_now(request, settings.sources)
        return await asyncio.to_thread(diagnose_refused, request, source, around)

    def _refusals(self) -> RefusalReader:
        reader = self._reading.refusals()
        if reader is None:
            raise SettingsError("audit.path: the audit of refused requests is switched off")
        return reader

    async def _in_order(self, log: EventLog, events: Sequence[Event]) -> list[ShownEvent]:
        """The events of a page, the latest first. Repeats are marked, and those that a later one has overtaken."""
        repeats = await log.repeats([event.id for event in events])
        shown, earliest = list[ShownEvent](), None
        for event in events:
            overtaken = earliest is not None and event.received_at > earliest
            shown.append(self._shows.event(event, overtaken=overtaken, repeats=repeats.get(event.id, 0)))
            earliest = event.received_at if earliest is None else min(earliest, event.received_at)
        return shown


class _Log:
    """The event log while it is read."""

    def __init__(self, reading: Reading) -> None:
        self._parts = reading.parts()

    async def __aenter__(self) -> EventLog:
        parts = await self._parts.__aenter__()
        try:
            return await parts.event_log()
        except BaseException:
            await self._parts.__aexit__(None, None, None)
            raise

    async def __aexit__(self, *exc: object) -> None:
        await self._parts.__aexit__(None, None, None)


async def _part(reading: Awaitable[T]) -> Part:
    """What was read, or why it could not be: one part that fails leaves the others of a page."""
    try:
        return Part(await reading)
    except HooklineError as error:
        return Part(None, str(error))


async def _wants(history: History, queue: str, event: Event) -> bool | None:
    """Whether a queue is bound to such events, in any partition; None if it cannot be asked."""
    topic = topics.topic(event.provider, event.source, event_topic(event))
    try:
        keys = await history.wanted_by(queue)
    except HooklineError:
        return None
    return any(topics.matches(key, f"{topic}.{part}") for key in keys for part in topics.PARTITION_WORDS)


async def _latest_of(log: EventLog, query: Query) -> list[Event]:
    found, cursor = list[Event](), None
    while len(found) < ROOM_EVENTS:
        page = await log.search(query, limit=1000, cursor=cursor, scan_limit=SCANNED_EVENTS)
        found += page.events
        cursor = page.cursor
        if cursor is None:
            break
    return found


def tuple_of(place: Place) -> tuple[str, str, str]:
    return place.provider, place.source, place.room_id


def _is_wanted(dead: DeadLetter, asked: Asked) -> bool:
    envelope_id = dead.envelope.id if dead.envelope else ""
    return asked.get("id") in (None, "", envelope_id) and asked.get("reason") in (None, "", dead.reason)
