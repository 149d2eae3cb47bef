"""B: copies of audio/video 1.0 (消息抄送). Numbers are in quotes, and lists are JSON within a text."""

from collections.abc import Mapping
from typing import Any

import msgspec

from hookline.schemas.envelope import moment
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
    flag,
    number,
    optional_text,
    read,
    read_again,
    text,
    unix_s,
)
from hookline.schemas.provider import Sample
from hookline.schemas.providers.netease.reading import Made, Reader, Reading, milliseconds, optional_number

COPIED_MEDIA: Mapping[str | None, Media] = {"AUDIO": "audio", "VEDIO": "video", "VIDEO": "video"}  # their spelling
RESULTS: Mapping[str | None, CallResult] = {"SUCCESS": "answered"}
CHANNEL = 10**18


class CopiedMember(msgspec.Struct, frozen=True):
    accid: Id
    duration: Number | None = None
    caller: Flag | None = None


class CopiedCall(msgspec.Struct, frozen=True, rename="camel"):
    """`duration` is the sum over the members in the bodies that were captured. There is no time of the end."""

    channel_id: Id
    type: str | None = None
    createtime: Number | None = None
    duration: Number | None = None
    status: str | None = None
    members: str | None = None


class CopiedFile(msgspec.Struct, frozen=True):
    channelid: Id
    filename: str | None = None
    vid: Id | None = None
    mix: Flag | None = None
    size: Number | None = None
    type: str | None = None
    url: str | None = None
    user: Id | None = None
    pieceindex: Number | None = None
    timestamp: Number | None = None


class CopiedFiles(msgspec.Struct, frozen=True):
    fileinfo: str


_copied_call = msgspec.json.Decoder(CopiedCall)
_copied_members = msgspec.json.Decoder(tuple[CopiedMember, ...])
_copied_files = msgspec.json.Decoder(CopiedFiles)
_files = msgspec.json.Decoder(tuple[CopiedFile, ...])


def _read_copied_call(kind: str, body: bytes) -> Reading:
    """A call has ended when its longest member left (inferred)."""
    call = read_again(_copied_call, body)
    members = read(_copied_members, call.members.encode()) if call.members else ()
    durations = [number(member.duration) for member in members if member.duration is not None]
    started_s, channel = unix_s(optional_number(call.createtime)), text(call.channel_id)
    callers = [text(member.accid) for member in members if flag(member.caller)]
    fields = {
        "call_id": channel,
        "caller_id": callers[0] if callers else None,
        "callee_ids": tuple(text(member.accid) for member in members if not flag(member.caller)),
        "media": COPIED_MEDIA.get(call.type),
        "result": RESULTS.get(call.status, "unknown"),
        "started_at": None if started_s is None else moment(started_s),
        "duration_s": optional_number(call.duration),
        "members": tuple(map(_member, members)),
    }
    ended_s = None if started_s is None else started_s + max(durations, default=optional_number(call.duration) or 0)
    return Reading((kind, channel, call.type), channel, ended_s, [Made(CallEnded, fields)])


def _member(member: CopiedMember) -> CallMember:
    return CallMember(user_id=text(member.accid), duration_s=optional_number(member.duration))


def _read_copied_files(kind: str, body: bytes) -> Reading:
    """One delivery may hold the files of several channels. They are sorted, so that each keeps its number."""
    found = read(_files, read_again(_copied_files, body).fileinfo.encode())
    files = sorted({_file_key(file): file for file in found}.items())
    if not files:
        raise Unreadable("the body names no file")
    made = [Made(RecordingUploaded, _copied_file(file)) for _, file in files]
    facts = tuple(fact for key, _ in files for fact in key if fact)
    times = [at_s for _, file in files if (at_s := unix_s(optional_number(file.timestamp))) is not None]
    return Reading((kind, *facts), text(files[0][1].channelid), max(times, default=None), made)


def _file_key(file: CopiedFile) -> tuple[str, ...]:
    """The `vid`, or else the channel and the name of the file."""
    return ("", "", text(file.vid)) if file.vid is not None else (text(file.channelid), file.filename or "", "")


def _copied_file(file: CopiedFile) -> Mapping[str, Any]:
    return {
        "room_id": text(file.channelid),
        "user_id": optional_text(file.user),
        "recording_id": optional_text(file.vid),
        "segment": optional_number(file.pieceindex),
        "file_name": file.filename,
        "format": file.type,
        "mixed": flag(file.mix),
        "size_bytes": optional_number(file.size),
        "url": file.url,
    }


READERS: Mapping[str, Reader] = {"5": _read_copied_call, "6": _read_copied_files}


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
