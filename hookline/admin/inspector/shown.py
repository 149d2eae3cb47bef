"""What the pages show of an event and of a dead letter. Beside ids, personal data only with `[inspector] bodies`."""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from hookline.event_facts import event_facts, late_s
from hookline.schemas.dead_letters import DeadLetter
from hookline.schemas.envelope import QUERY_HEADER, Envelope
from hookline.schemas.events import CanonicalEvent, event_topic
from hookline.schemas.form import FORM
from hookline.schemas.provider import Provider
from hookline.schemas.redaction import HIDDEN, redacted_body
from hookline.schemas.refusals import StoredRefusal
from hookline.settings import Settings
from hookline.workers.rooms import RoomView

PERSONAL = frozenset({"display_name", "name", "custom", "text", "payload", "changes", "url", "directory", "file_name"})
"""Fields of events that hold what people have written or are called, or what leads to it."""
MAX_BODY_BYTES = 64 * 2**10
_HIDDEN_TEXT = f"{HIDDEN} (the text may quote a callback)"
_FRAME = re.compile(r'  File "[^"]*", line \d+, in \S+')
_ERROR = re.compile(r"[A-Za-z_][\w.]*(?=:|$)")


class ShownEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One event. `late_s` says how much later than it occurred it was received, if that is worth a mark.

    `overtaken`: an event of the same page that occurred later was received earlier. `repeats` is how often it was
    delivered again.
    """

    id: str
    topic: str
    provider: str
    source: str
    provider_type: str
    occurred_at: datetime
    received_at: datetime
    room_id: str | None
    user_id: str | None
    facts: Mapping[str, str]
    late_s: float | None
    overtaken: bool = False
    repeats: int = 0


class ShownBody(msgspec.Struct, frozen=True):
    """The body of a callback, its secrets hidden. `text` is None where it may not, or cannot, be shown; `why` says."""

    bytes: int
    content_type: str
    text: str | None
    why: str = ""


class ShownDeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A message that was put aside. `headers` are those of the message; the ids are "" if it is no envelope of ours."""

    reason: str
    detail: str
    attempts: int
    replays: int
    parked_at: datetime | None
    received_at: datetime | None
    id: str
    topic: str
    source: str
    subject: str
    headers: Mapping[str, str]
    body: ShownBody


class ShownRefusal(msgspec.Struct, frozen=True, kw_only=True):
    """A refused request: what of it the pages may show, whatever else the audit keeps."""

    id: int
    at_s: float
    source: str
    reason: str
    detail: str
    hint: str
    status: int
    peer: str
    forwarded: str
    method: str
    path: str
    query: str
    headers: tuple[tuple[str, str], ...]
    body_bytes: int
    body_sha256: str
    body: str | None


_OF_REQUESTS = tuple(name for name in ShownRefusal.__struct_fields__ if name not in ("id", "body"))


class Shows:
    """Makes what is shown, by the settings."""

    def __init__(self, settings: Settings) -> None:
        self._providers: Mapping[str, Provider[Any]] = settings.providers
        self._keep_urls = settings.workers.keep_urls
        self.bodies = settings.inspector.bodies

    def event(self, event: CanonicalEvent, *, overtaken: bool = False, repeats: int = 0) -> ShownEvent:
        facts = event_facts(event)
        room_id, user_id = facts.pop("room_id", None), facts.pop("user_id", None)
        if not self.bodies:
            facts = {name: HIDDEN if name in PERSONAL else text for name, text in facts.items()}
        return ShownEvent(
            id=event.id,
            topic=event_topic(event),
            provider=event.provider,
            source=event.source,
            provider_type=event.provider_type,
            occurred_at=event.occurred_at,
            received_at=event.received_at,
            room_id=room_id,
            user_id=user_id,
            facts=facts,
            late_s=late_s(event),
            overtaken=overtaken,
            repeats=repeats,
        )

    def dead_letter(self, dead: DeadLetter) -> ShownDeadLetter:
        envelope = dead.envelope
        shown = {name: str(value) for name, value in dead.headers.items()}
        if not self.bodies and QUERY_HEADER in shown:
            shown[QUERY_HEADER] = HIDDEN
        return ShownDeadLetter(
            reason=dead.reason,
            detail=dead.detail if self.bodies else without_text(dead.detail),
            attempts=dead.attempts,
            replays=dead.replays,
            parked_at=dead.parked_at,
            received_at=envelope.received_at if envelope else None,
            id=envelope.id if envelope else "",
            topic=envelope.topic if envelope else "",
            source=envelope.source if envelope else "",
            subject=envelope.subject if envelope else "",
            headers=shown,
            body=self.body(dead.body, dead.content_type, envelope),
        )

    def room(self, room: RoomView) -> RoomView:
        return room if self.bodies else _impersonal(room)

    def refusal(self, stored: StoredRefusal) -> ShownRefusal:
        facts = {name: getattr(stored.request, name) for name in _OF_REQUESTS}
        return ShownRefusal(id=stored.id, body=stored.request.body if self.bodies else None, **facts)

    def body(self, body: bytes, content_type: str, envelope: Envelope | None) -> ShownBody:
        """The body, as far as it may be shown. Of a message that is not ours, nobody can say where a secret is."""
        provider = None if envelope is None else self._providers.get(envelope.provider)
        if not self.bodies:
            return ShownBody(len(body), content_type, None, "[inspector] bodies is off")
        if provider is None:
            return ShownBody(len(body), content_type, None, "it is of no provider that the settings name")
        hidden = provider.secret_fields if self._keep_urls else provider.secret_fields | provider.url_fields
        text = redacted_body(body, hidden, MAX_BODY_BYTES, is_form=provider.content_type == FORM)
        if text is None and not hidden:
            text = body[:MAX_BODY_BYTES].decode(errors="backslashreplace")
        return ShownBody(len(body), content_type, text, "" if text is not None else "it cannot be read")


def _impersonal(value: Any) -> Any:
    """A struct whose personal fields are None, at any depth."""
    match value:
        case tuple():
            return tuple(map(_impersonal, value))
        case msgspec.Struct():
            fields = {name: getattr(value, name) for name in value.__struct_fields__}
            return type(value)(
                **{name: None if name in PERSONAL else _impersonal(each) for name, each in fields.items()}
            )
        case _:
            return value


def without_text(traceback: str) -> str:
    """The places and the type of an error: its text may quote a callback."""
    lines = traceback.splitlines()
    places = [line for line in lines if _FRAME.fullmatch(line)]
    if not places:
        return _HIDDEN_TEXT if traceback else ""
    last = next((line for line in reversed(lines) if line and not line.startswith((" ", "|", "+"))), "")
    kind = _ERROR.match(last)
    return "\n".join([*places, f"{kind[0]}: {_HIDDEN_TEXT}" if kind else _HIDDEN_TEXT])
