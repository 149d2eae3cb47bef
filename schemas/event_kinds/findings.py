"""What the provider found out about what was said and shown."""

from datetime import datetime
from typing import Any, Literal

from hookline.schemas.event_kinds.head import CanonicalEvent


class ModerationFlagged(CanonicalEvent, frozen=True, kw_only=True, tag="moderation.flagged"):
    """Something that was said or shown was found objectionable. `url` is kept with `[workers] keep_urls` only."""

    room_id: str | None = None
    user_id: str | None = None
    task_id: str | None = None
    media: Literal["audio", "video", "image", "text"]
    level: Literal["review", "reject"]
    labels: tuple[str, ...] = ()
    text: str | None = None
    url: str | None = None
    starts_at: datetime | None = None
    duration_s: int | None = None


class Transcript(CanonicalEvent, frozen=True, kw_only=True):
    """The fields of the two events about what was said. `url` is kept with `[workers] keep_urls` only."""

    room_id: str | None = None
    session_id: str | None = None
    transcript_id: str | None = None
    recording_id: str | None = None
    kind: Literal["transcript", "summary", "chat", "captions"] = "transcript"
    url: str | None = None
    directory: str | None = None
    file_name: str | None = None
    format: str | None = None


class TranscriptReady(Transcript, frozen=True, kw_only=True, tag="transcript.ready"):
    pass


class TranscriptFailed(Transcript, frozen=True, kw_only=True, tag="transcript.failed"):
    error: str | None = None


class QualityReported(CanonicalEvent, frozen=True, kw_only=True, tag="quality.reported"):
    """The provider has noticed a problem; `issues` are its own words."""

    room_id: str
    user_id: str | None = None
    issues: tuple[str, ...] = ()


class Unknown(CanonicalEvent, frozen=True, kw_only=True, tag="unknown"):
    """A genuine callback of a type that we do not know; `payload` is its decoded JSON."""

    payload: Any = None
