"""A: third-party callbacks of audio/video 1.0 (音视频1.0相关回调).

The page says that any field may be absent or null.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from hookline.schemas.events import (
    CallStarted,
    Media,
    RoomCreated,
)
from hookline.schemas.payload import (
    Id,
    Int,
    Number,
    number,
    optional_text,
    read_again,
    text,
    unix_s,
)
from hookline.schemas.provider import Sample
from hookline.schemas.providers.netease.reading import Made, Reader, Reading, milliseconds
from hookline.schemas.unknown import all_facts

MEDIA: Mapping[int | None, Media] = {1: "audio", 2: "video"}


class Call(msgspec.Struct, frozen=True, rename="camel"):
    """`timestamp` is Unix milliseconds, in quotes."""

    from_account: Id
    from_device_id: Id | None = None
    timestamp: Number | None = None
    to_account_list: tuple[Id | None, ...] | None = None
    call_type: Int | None = None
    notify_attach: str | None = None


class Room(msgspec.Struct, frozen=True, rename="camel"):
    """`channelName` is in the sample but not in the table. It is required here: without it no room is named."""

    channel_name: Id
    from_account: Id | None = None
    from_device_id: Id | None = None
    timestamp: Number | None = None
    self_config: str | None = None


_call = msgspec.json.Decoder(Call)
_room = msgspec.json.Decoder(Room)


def _read_call(kind: str, body: bytes) -> Reading:
    call = read_again(_call, body)
    callees = tuple(text(account) for account in call.to_account_list or () if account is not None)
    caller = text(call.from_account)
    fields = {
        "caller_id": caller,
        "callee_ids": callees,
        "media": MEDIA.get(call.call_type),
        "custom": call.notify_attach,
    }
    return _of_callback(kind, body, call, caller, sorted(callees), Made(CallStarted, fields))


def _read_created_room(kind: str, body: bytes) -> Reading:
    """The page calls the account an operator and names no owner. An empty `selfConfig` means no attributes."""
    room = read_again(_room, body)
    name, operator = text(room.channel_name), optional_text(room.from_account)
    fields = {"room_id": name, "operator_id": operator, "custom": room.self_config or None}
    return _of_callback(kind, body, room, name, [name], Made(RoomCreated, fields))


def _of_callback(
    kind: str, body: bytes, notice: Call | Room, subject: str, which: Sequence[str], made: Made
) -> Reading:
    """The facts are type, account, device, time, and the callees or the room.

    Without a time, or with one that cannot be, all fields of the callback are its facts. The provider sends each
    callback once, so a repeat can only be a copy. A second call that differs in no field passes for a copy, too.
    """
    ms = None if notice.timestamp is None else number(notice.timestamp)
    occurred_s = unix_s(ms)
    if occurred_s is None:
        return Reading(all_facts(kind, body), subject, None, [made])
    who = optional_text(notice.from_account), optional_text(notice.from_device_id)
    return Reading((int(kind), *who, ms, *which), subject, occurred_s, [made])


READERS: Mapping[str, Reader] = {"20": _read_call, "21": _read_created_room}


def _callback(kind: int, account: str, **fields: Any) -> Sample:
    def body(n: int, at_s: float) -> Any:
        own = {name: value.format(n=n) if isinstance(value, str) else value for name, value in fields.items()}
        origin = {"fromClientType": "WEB", "fromClientIp": "203.0.113.7", "fromClientPort": "46612"}
        return {
            "eventType": kind,
            "fromAccount": account.format(n=n),
            "fromDeviceId": f"device-{n}",
            **origin,
            **own,
            "timestamp": milliseconds(at_s, str),
        }

    return Sample(str(kind), body)


SAMPLES = (
    _callback(21, "teacher-{n}", channelName="demo-{n}", roomConfig="", selfConfig=""),
    _callback(20, "teacher-{n}", callType=2, forceKeepCalling=True, toAccountList=["student"], notifyAttach=""),
)
