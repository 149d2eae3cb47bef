"""The canonical events: what every provider's callbacks become, as a tagged union of frozen structs.

The tag is the event's topic (`room.created`). Identifiers are text, because providers send integers beyond 2^53,
which many JSON readers round. Optional fields are `None` where the provider says nothing.
"""

from collections.abc import Mapping
from typing import TypeAlias, TypeVar, get_args

from hookline.schemas.event_kinds.calls import (
    CallAnswered,
    CallDeclined,
    CallEnded,
    CallMember,
    CallResult,
    CallStarted,
    DeclineReason,
    Media,
)
from hookline.schemas.event_kinds.findings import (
    ModerationFlagged,
    QualityReported,
    Transcript,
    TranscriptFailed,
    TranscriptReady,
    Unknown,
)
from hookline.schemas.event_kinds.head import (
    CanonicalEvent,
    EventHead,
)
from hookline.schemas.event_kinds.media import (
    Recording,
    RecordingCompleted,
    RecordingFailed,
    RecordingPaused,
    RecordingResumed,
    RecordingStarted,
    RecordingTrack,
    RecordingUploaded,
    Stream,
    StreamFailed,
    StreamProtocol,
    StreamStarted,
    StreamStateChanged,
    StreamStopped,
    Track,
    TrackKind,
    TrackMuted,
    TrackPublished,
    TrackUnmuted,
    TrackUnpublished,
)
from hookline.schemas.event_kinds.rooms import (
    LeaveReason,
    ParticipantJoined,
    ParticipantJoinFailed,
    ParticipantKind,
    ParticipantLeft,
    ParticipantRoleChanged,
    ParticipantWaiting,
    ParticipantWaitingEnded,
    Role,
    RoomCreated,
    RoomEnded,
    RoomEndReason,
    RoomUpdated,
    Seat,
    SeatsChanged,
)

__all__ = [
    "EVENT_TYPES",
    "CallAnswered",
    "CallDeclined",
    "CallEnded",
    "CallMember",
    "CallResult",
    "CallStarted",
    "CanonicalEvent",
    "DeclineReason",
    "Event",
    "EventHead",
    "EventT",
    "LeaveReason",
    "Media",
    "ModerationFlagged",
    "ParticipantJoinFailed",
    "ParticipantJoined",
    "ParticipantKind",
    "ParticipantLeft",
    "ParticipantRoleChanged",
    "ParticipantWaiting",
    "ParticipantWaitingEnded",
    "QualityReported",
    "Recording",
    "RecordingCompleted",
    "RecordingFailed",
    "RecordingPaused",
    "RecordingResumed",
    "RecordingStarted",
    "RecordingTrack",
    "RecordingUploaded",
    "Role",
    "RoomCreated",
    "RoomEndReason",
    "RoomEnded",
    "RoomUpdated",
    "Seat",
    "SeatsChanged",
    "Stream",
    "StreamFailed",
    "StreamProtocol",
    "StreamStarted",
    "StreamStateChanged",
    "StreamStopped",
    "Track",
    "TrackKind",
    "TrackMuted",
    "TrackPublished",
    "TrackUnmuted",
    "TrackUnpublished",
    "Transcript",
    "TranscriptFailed",
    "TranscriptReady",
    "Unknown",
    "event_topic",
]

Event: TypeAlias = (
    RoomCreated
    | RoomUpdated
    | RoomEnded
    | ParticipantJoined
    | ParticipantLeft
    | ParticipantRoleChanged
    | ParticipantJoinFailed
    | ParticipantWaiting
    | ParticipantWaitingEnded
    | TrackPublished
    | TrackUnpublished
    | TrackMuted
    | TrackUnmuted
    | SeatsChanged
    | CallStarted
    | CallAnswered
    | CallDeclined
    | CallEnded
    | RecordingStarted
    | RecordingPaused
    | RecordingResumed
    | RecordingCompleted
    | RecordingUploaded
    | RecordingFailed
    | StreamStarted
    | StreamStateChanged
    | StreamStopped
    | StreamFailed
    | ModerationFlagged
    | TranscriptReady
    | TranscriptFailed
    | QualityReported
    | Unknown
)
EventT = TypeVar("EventT", bound=CanonicalEvent)

EVENT_TYPES: Mapping[str, type[CanonicalEvent]] = {event.__struct_config__.tag: event for event in get_args(Event)}
"""The canonical events by topic, such as `room.created`."""


def event_topic(event: type[CanonicalEvent] | CanonicalEvent) -> str:
    """The topic of an event or of its class, such as `room.created`."""
    return str(event.__struct_config__.tag)
