"""Calls from one user to others."""

from datetime import datetime
from typing import Literal, TypeAlias

import msgspec

from hookline.schemas.event_kinds.head import CanonicalEvent

Media: TypeAlias = Literal["audio", "video"]
DeclineReason: TypeAlias = Literal["rejected", "busy", "timeout", "cancelled", "offline", "unknown"]
CallResult: TypeAlias = Literal["answered", "rejected", "busy", "timeout", "cancelled", "interrupted", "unknown"]


class CallStarted(CanonicalEvent, frozen=True, kw_only=True, tag="call.started"):
    caller_id: str
    callee_ids: tuple[str, ...] = ()
    media: Media | None = None
    custom: str | None = None
    call_id: str | None = None
    room_id: str | None = None
    group_id: str | None = None
    session_id: str | None = None


class CallAnswered(CanonicalEvent, frozen=True, kw_only=True, tag="call.answered"):
    call_id: str
    user_id: str
    room_id: str | None = None


class CallDeclined(CanonicalEvent, frozen=True, kw_only=True, tag="call.declined"):
    call_id: str
    user_id: str
    room_id: str | None = None
    reason: DeclineReason = "unknown"


class CallMember(msgspec.Struct, frozen=True, kw_only=True):
    user_id: str
    duration_s: int | None = None


class CallEnded(CanonicalEvent, frozen=True, kw_only=True, tag="call.ended"):
    call_id: str
    caller_id: str | None = None
    callee_ids: tuple[str, ...] = ()
    media: Media | None = None
    result: CallResult = "unknown"
    started_at: datetime | None = None
    answered_at: datetime | None = None
    ended_at: datetime | None = None
    duration_s: int | None = None
    room_id: str | None = None
    members: tuple[CallMember, ...] = ()
