"""B: copies of audio/video 1.0 (消息抄送). Numbers are in quotes, and lists are JSON within a text."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from hookline.schemas.envelope import Identity, moment
from hookline.schemas.errors import Unreadable
from hookline.schemas.events import (
    CallEnded,
    CallMember,
    CallResult,
    Media,
    RecordingUploaded,
)
from hookline.schemas.payload import (
    Flag,
    Id,
    Number,
    W,
    Whole,
    flag,
    number,
    optional_text,
    read_again,
    read_whole,
    unix_s,
)
from hookline.schemas.provider import Sample
from hookline.schemas.providers.netease.reading import Made, Reader, WithoutOthers, milliseconds, optional_number

COPIED_MEDIA: Mapping[str | None, Media] = {"AUDIO": "audio", "VEDIO": "video", "VIDEO": "video"}  # their spelling
RESULTS: Mapping[str | None, CallResult] = {"SUCCESS": "answered"}
CHANNEL = 10**18


class CopiedMember(Whole, frozen=True):
    accid: Id
    caller: Flag | None = None
    duration: Number | None = None


class CopiedCall(WithoutOthers, frozen=True, kw_only=True, rename="camel"):
    """`duration` is the sum over the members in the bodies that were captured. There is no time of the end."""

    word: Any = msgspec.field(name="eventType", default=None)
    channel_id: Id
    createtime: Number | None = None
    duration: Number | None = None
    live: Any = None
    members: str | None = None
    status: str | None = None
    type: str | None = None


class CopiedFile(Whole, frozen=True, kw_only=True):
    caller: Any = None
    channelid: Id
    filename: str | None = None
    md5: Any = None
    mix: Flag | None = None
    size: Number | None = None
    type: str | None = None
    vid: Id | None = None
    url: str | None = None
    user: Id | None = None
    pieceindex: Number | None = None
    timestamp: Number | None = None


class CopiedFiles(WithoutOthers, frozen=True, kw_only=True):
    word: Any = msgspec.field(name="eventType", default=None)
    fileinfo: str


class CallNotice(CopiedCall, frozen=True, kw_only=True):
    word: Literal["5"] = msgspec.field(name="eventType")


class FilesNotice(CopiedFiles, frozen=True, kw_only=True):
    word: Literal["6"] = msgspec.field(name="eventType")


whole_call = msgspec.json.Decoder(CallNotice)
whole_files = msgspec.json.Decoder(FilesNotice)
_members = msgspec.json.Decoder(tuple[CopiedMember, ...])
_files = msgspec.json.Decoder(tuple[CopiedFile, ...])


def _identify_call(kind: str, call: CopiedCall, _body: bytes) -> Identity:
    """A call has ended when its longest member left (inferred)."""
    members = _list(_members, call.members) if call.members else ()
    started_s, channel = unix_s(optional_number(call.createtime)), str(call.channel_id)
    if started_s is None:
        return Identity("call.ended", (kind, channel, call.type), channel)
    durations = [number(member.duration) for member in members if member.duration is not None]
    ended_s = started_s + max(durations, default=optional_number(call.duration) or 0)
    return Identity("call.ended", (kind, channel, call.type), channel, ended_s)


def _list(form: msgspec.json.Decoder[W], text: str) -> W:
    return read_whole(form, form, text.encode())


def _make_call(_kind: str, call: CopiedCall, _body: bytes) -> Sequence[Made]:
    members = read_again(_members, call.members.encode()) if call.members else ()
    started_s, callers = unix_s(optional_number(call.createtime)), [member for member in members if flag(member.caller)]
    fields = {
        "call_id": str(call.channel_id),
        "caller_id": str(callers[0].accid) if callers else None,
        "callee_ids": tuple(str(member.accid) for member in members if not flag(member.caller)),
        "media": COPIED_MEDIA.get(call.type),
        "result": RESULTS.get(call.status, "unknown"),
        "started_at": None if started_s is None else moment(started_s),
        "duration_s": optional_number(call.duration),
        "members": tuple(map(_member, members)),
    }
    return [Made(CallEnded, fields)]


def _member(member: CopiedMember) -> CallMember:
    return CallMember(user_id=str(member.accid), duration_s=optional_number(member.duration))


def _identify_files(kind: str, notice: CopiedFiles, _body: bytes) -> Identity:
    """One delivery may hold the files of several channels."""
    found = _list(_files, notice.fileinfo)
    if not found:
        raise Unreadable("the body names no file")
    files = _sorted(found)
    facts = [fact for key, _ in files for fact in key if fact]
    times = [at_s for _, file in files if (at_s := unix_s(optional_number(file.timestamp))) is not None]
    return Identity("recording.uploaded", (kind, *facts), str(files[0][1].channelid), max(times, default=None))


def _make_files(_kind: str, notice: CopiedFiles, _body: bytes) -> Sequence[Made]:
    found = read_again(_files, notice.fileinfo.encode())
    return [Made(RecordingUploaded, _copied_file(file)) for _, file in _sorted(found)]


def _sorted(files: Sequence[CopiedFile]) -> Sequence[tuple[tuple[str, ...], CopiedFile]]:
    """Each file once, with its key, in an order that keeps its number in whatever order a re-send lists them."""
    return sorted({_file_key(file): file for file in files}.items())


def _file_key(file: CopiedFile) -> tuple[str, ...]:
    """The `vid`, or else the channel and the name of the file."""
    return ("", "", str(file.vid)) if file.vid is not None else (str(file.channelid), file.filename or "", "")


def _copied_file(file: CopiedFile) -> Mapping[str, Any]:
    return {
        "room_id": str(file.channelid),
        "user_id": optional_text(file.user),
        "recording_id": optional_text(file.vid),
        "segment": optional_number(file.pieceindex),
        "file_name": file.filename,
        "format": file.type,
        "mixed": flag(file.mix),
        "size_bytes": optional_number(file.size),
        "url": file.url,
    }


READERS: Mapping[str, Reader] = {
    "5": Reader(msgspec.json.Decoder(CopiedCall), _identify_call, _make_call),
    "6": Reader(msgspec.json.Decoder(CopiedFiles), _identify_files, _make_files),
}


def _copied_call_body(n: int, at_s: float) -> Any:
    members = [{"accid": "student", "duration": 1}, {"accid": "teacher", "caller": True, "duration": 1}]
    return {
        "eventType": "5",
        "channelId": str(CHANNEL + n),
        "createtime": milliseconds(at_s - 1, str),
        "duration": "2",
        "live": "0",
        "members": msgspec.json.encode(members).decode(),
        "status": "SUCCESS",
        "type": "VEDIO",
    }


def _copied_files_body(n: int, _at_s: float) -> Any:
    file = {"channelid": str(CHANNEL + n), "filename": f"{n}.mp4", "mix": True, "size": "2167", "type": "mp4"}
    files = [{**file, "vid": str(n), "url": f"https://vod.example.net/{n}.mp4", "user": "teacher"}]
    return {"eventType": "6", "fileinfo": msgspec.json.encode(files).decode()}


SAMPLES = (Sample("5", _copied_call_body), Sample("6", _copied_files_body))
