"""Tracks of participants, recordings, and streams to and from the outside."""

from datetime import datetime
from typing import Literal, TypeAlias

from hookline.schemas.event_kinds.head import CanonicalEvent
from hookline.schemas.event_kinds.rooms import LeaveReason

TrackKind: TypeAlias = Literal["audio", "video", "screen", "screen_audio", "data"]
RecordingTrack: TypeAlias = Literal["audio", "video", "screen", "mixed"]
StreamProtocol: TypeAlias = Literal["rtmp", "hls", "whip", "srt", "sip"]


class Track(CanonicalEvent, frozen=True, kw_only=True):
    """The fields of the events about a participant's own microphone, camera or screen."""

    room_id: str
    user_id: str
    session_id: str | None = None
    connection_id: str | None = None
    track_id: str | None = None
    kind: TrackKind | None = None


class TrackPublished(Track, frozen=True, kw_only=True, tag="track.published"):
    name: str | None = None
    muted: bool | None = None


class TrackUnpublished(Track, frozen=True, kw_only=True, tag="track.unpublished"):
    name: str | None = None
    muted: bool | None = None
    reason: LeaveReason | None = None


class TrackMuted(Track, frozen=True, kw_only=True, tag="track.muted"):
    pass


class TrackUnmuted(Track, frozen=True, kw_only=True, tag="track.unmuted"):
    pass


class Recording(CanonicalEvent, frozen=True, kw_only=True):
    """The fields of the recording events; `segment` counts the files of one task from 0.

    `url` may let anybody in who has it, so it is kept with `[workers] keep_urls` only.
    """

    room_id: str | None = None
    user_id: str | None = None
    task_id: str | None = None
    segment: int | None = None
    directory: str | None = None
    file_name: str | None = None
    mixed: bool | None = None
    session_id: str | None = None
    recording_id: str | None = None
    url: str | None = None
    format: str | None = None
    track: RecordingTrack | None = None
    size_bytes: int | None = None
    duration_s: int | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    error: str | None = None


class RecordingStarted(Recording, frozen=True, kw_only=True, tag="recording.started"):
    pass


class RecordingPaused(Recording, frozen=True, kw_only=True, tag="recording.paused"):
    pass


class RecordingResumed(Recording, frozen=True, kw_only=True, tag="recording.resumed"):
    pass


class RecordingCompleted(Recording, frozen=True, kw_only=True, tag="recording.completed"):
    """The recorder has stopped: once for each task."""


class RecordingUploaded(Recording, frozen=True, kw_only=True, tag="recording.uploaded"):
    """A file is where its owner can fetch it: once for each file."""


class RecordingFailed(Recording, frozen=True, kw_only=True, tag="recording.failed"):
    error_code: str | None = None


class Stream(CanonicalEvent, frozen=True, kw_only=True):
    """The fields of the events about a mixed or forwarded stream to the outside, or one from it.

    `stream_id` is the provider's id of the task. `url` is without its key.
    """

    room_id: str | None = None
    session_id: str | None = None
    stream_id: str
    direction: Literal["out", "in"]
    protocol: StreamProtocol | None = None
    url: str | None = None
    user_id: str | None = None


class StreamStarted(Stream, frozen=True, kw_only=True, tag="stream.started"):
    pass


class StreamStateChanged(Stream, frozen=True, kw_only=True, tag="stream.state_changed"):
    state: str | None = None


class StreamStopped(Stream, frozen=True, kw_only=True, tag="stream.stopped"):
    duration_s: int | None = None


class StreamFailed(Stream, frozen=True, kw_only=True, tag="stream.failed"):
    error: str | None = None
