"""A: third-party callbacks of audio/video 1.0 (音视频1.0相关回调).

The page says that any field may be absent or null.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from hookline.schemas.envelope import Identity
from hookline.schemas.events import (
    CallStarted,
    Media,
    RoomCreated,
)
from hookline.schemas.payload import (
    Id,
    Int,
    Number,
    optional_text,
    unix_s,
)
from hookline.schemas.provider import Sample
from hookline.schemas.providers.netease.reading import Made, Reader, WithoutOthers, milliseconds, optional_number
from hookline.schemas.unknown import all_facts

MEDIA: Mapping[int | None, Media] = {1: "audio", 2: "video"}


class Call(WithoutOthers, frozen=True, kw_only=True, rename="camel"):
    """`timestamp` is Unix milliseconds, in quotes."""

    word: Any = msgspec.field(name="eventType", default=None)
    from_account: Id
    from_device_id: Id | None = None
    from_client_type: Any = None
    from_client_ip: Any = None
    from_client_port: Any = None
    call_type: Int | None = None
    force_keep_calling: Any = None
    to_account_list: tuple[Id | None, ...] | None = None
    notify_attach: str | None = None
    timestamp: Number | None = None


class Room(WithoutOthers, frozen=True, kw_only=True, rename="camel"):
    """`channelName` is in the sample but not in the table. It is required here: without it no room is named."""

    word: Any = msgspec.field(name="eventType", default=None)
    from_account: Id | None = None
    from_device_id: Id | None = None
    from_client_type: Any = None
    from_client_ip: Any = None
    from_client_port: Any = None
    channel_name: Id
    room_config: Any = None
    self_config: str | None = None
    timestamp: Number | None = None


class CallNotice(Call, frozen=True, kw_only=True):
    word: Literal[20] = msgspec.field(name="eventType")


class RoomNotice(Room, frozen=True, kw_only=True):
    word: Literal[21] = msgspec.field(name="eventType")


whole_call = msgspec.json.Decoder(CallNotice)
whole_room = msgspec.json.Decoder(RoomNotice)


def _identify_call(kind: str, call: Call, body: bytes) -> Identity:
    return _identity("call.started", kind, body, call, str(call.from_account), sorted(_callees(call)))


def _make_call(_kind: str, call: Call, _body: bytes) -> Sequence[Made]:
    fields = {
        "caller_id": str(call.from_account),
        "callee_ids": _callees(call),
        "media": MEDIA.get(call.call_type),
        "custom": call.notify_attach,
    }
    return [Made(CallStarted, fields)]


def _callees(call: Call) -> tuple[str, ...]:
    return tuple([str(account) for account in call.to_account_list or () if account is not None])


def _identify_room(kind: str, room: Room, body: bytes) -> Identity:
    name = str(room.channel_name)
    return _identity("room.created", kind, body, room, name, (name,))


def _make_room(_kind: str, room: Room, _body: bytes) -> Sequence[Made]:
    """The page calls the account an operator and names no owner. An empty `selfConfig` means no attributes."""
    name, operator = str(room.channel_name), optional_text(room.from_account)
    return [Made(RoomCreated, {"room_id": name, "operator_id": operator, "custom": room.self_config or None})]


def _identity(
    event_type: str, kind: str, body: bytes, notice: Call | Room, subject: str, which: Sequence[str]
) -> Identity:
    """The facts are type, account, device, time, and the callees or the room.

    Without a time, or with one that cannot be, all fields of the callback are its facts. The provider sends each
    callback once, so a repeat can only be a copy. A second call that differs in no field passes for a copy, too.
    """
    ms = optional_number(notice.timestamp)
    occurred_s = unix_s(ms)
    if occurred_s is None:
        return Identity(event_type, all_facts(kind, body), subject)
    who = optional_text(notice.from_account), optional_text(notice.from_device_id)
    return Identity(event_type, (int(kind), *who, ms, *which), subject, occurred_s)


READERS: Mapping[str, Reader] = {
    "20": Reader(msgspec.json.Decoder(Call), _identify_call, _make_call),
    "21": Reader(msgspec.json.Decoder(Room), _identify_room, _make_room),
}


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
