"""Tencent RoomKit: rooms, members and seats, through the webhook of Tencent Chat.

Source: the pages on RoomKit's six webhooks (trtc.io 60731 to 60736) and on the webhook itself (34354). It signs only if
the console has a token. Other families arrive at the same URL: `live` reads `Live.` and `Follow.`, and `calls` reads
`Call.`. `Group.`, `State.` and all others are kept as unknown, also those that ask for a decision: the reply lets them
pass.
"""

import hashlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, TypeAlias, assert_never
from urllib.parse import urlencode

import msgspec

from hookline.schemas.drafts import finished
from hookline.schemas.envelope import Envelope, Identity
from hookline.schemas.errors import BadSignature, Unreadable
from hookline.schemas.events import (
    Event,
    EventHead,
    LeaveReason,
    ParticipantJoined,
    ParticipantLeft,
    RoomCreated,
    RoomEnded,
    RoomUpdated,
    Seat,
    SeatsChanged,
)
from hookline.schemas.lenient import fitted
from hookline.schemas.payload import (
    Flag,
    Id,
    Int,
    Whole,
    canonical,
    flag,
    optional_text,
    read,
    read_again,
    read_whole,
    recheck,
    required,
    tags,
    unix_s,
)
from hookline.schemas.provider import (
    Example,
    Key,
    Outgoing,
    Provider,
    Reply,
    Request,
    Sample,
    Signatures,
    Source,
    fault_without_signature,
)
from hookline.schemas.providers.roomkit import calls, live
from hookline.schemas.providers.roomkit.reading import Reader
from hookline.schemas.query import parameter, parameters, without
from hookline.schemas.signing import check_fresh, check_hex, decimal
from hookline.schemas.unknown import all_facts, identify_unknown, normalise_unknown

ROOM_TYPES = {
    "Room.CallbackAfterCreateRoom": "room.created",
    "Room.CallbackAfterUpdateRoomInfo": "room.updated",
    "Room.CallbackAfterDestroyRoom": "room.ended",
    "Room.CallbackAfterMemberEnter": "participant.joined",
    "Room.CallbackAfterMemberLeave": "participant.left",
    "Mic.CallbackAfterSeatInfoChanged": "seats.changed",
}
TYPES: Mapping[str, str | tuple[str, ...]] = {**ROOM_TYPES, **live.TYPES, **calls.TYPES}
READERS: Mapping[Any, Reader] = {**live.READERS, **calls.READERS}
REASONS: Mapping[str | None, LeaveReason] = {"Leave": "left", "Kicked": "removed", "Expired": "expired"}
TIME_DIGITS = 10
SIGNED_PARAMETERS = frozenset({"sign", "requesttime"})
EMPTY_SEAT = ("", 0)
SWITCHES = (
    "IsVideoDisabled",
    "IsAudioDisabled",
    "IsMessageDisabled",
    "IsScreenSharingDisabled",
    "IsCloudRecordingDisabled",
)


class Account(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`insecure_no_signature` is for a console without a token: only the client's address is checked then."""

    sdk_app_id: int
    insecure_no_signature: bool = False


class Kind(msgspec.Struct, frozen=True, rename="pascal"):
    """Some callbacks of another family, TUICallKit's, name their command in the query only."""

    callback_command: Id | None = None


class RoomInfo(Whole, frozen=True, rename="pascal"):
    """`create_time` is Unix seconds."""

    room_id: Id
    room_name: str | None = None
    room_type: Any = None
    owner: Id | None = msgspec.field(name="Owner_Account", default=None)
    max_member_count: Any = None
    max_seat_count: Any = None
    is_video_disabled: Any = None
    is_audio_disabled: Any = None
    is_message_disabled: Any = None
    is_screen_sharing_disabled: Any = None
    is_cloud_recording_disabled: Any = None
    custom_info: str | None = None
    schedule_start_time: Any = None
    schedule_end_time: Any = None
    room_status: Any = None
    is_seat_enabled: Any = None
    take_seat_mode: Any = None
    create_time: Int | None = None


class SeatInfo(Whole, frozen=True, rename="pascal"):
    """`member` is a number beyond 2^53 in the page's sample, and text everywhere else."""

    index: Int
    member: Id | None = msgspec.field(name="Member_Account", default=None)
    is_taken_disabled: Flag | None = None
    is_video_disabled: Flag | None = None
    is_audio_disabled: Flag | None = None


class Notice(Whole, frozen=True, kw_only=True, rename="pascal", tag_field="CallbackCommand"):
    """`event_time`, which all have, is Unix milliseconds. One page's table leaves it out."""

    operator: Id | None = msgspec.field(name="Operator_Account", default=None)


class AboutRoom(Notice, frozen=True, kw_only=True):
    room_info: RoomInfo
    invitees: Any = msgspec.field(name="ScheduleInviteeList_Account", default=None)
    event_time: Int | None = None

    @property
    def room_id(self) -> Id:
        return self.room_info.room_id


class InRoom(Notice, frozen=True, kw_only=True):
    room_id: Id


class WithMembers(InRoom, frozen=True, kw_only=True):
    member_count: Any = None
    type: str | None = None
    members: tuple[Id, ...] = msgspec.field(name="MemberList_Account")
    reason: Any = None
    event_time: Int | None = None


class CreateRoom(AboutRoom, frozen=True, tag="Room.CallbackAfterCreateRoom"):
    pass


class UpdateRoomInfo(AboutRoom, frozen=True, tag="Room.CallbackAfterUpdateRoomInfo"):
    pass


class DestroyRoom(InRoom, frozen=True, kw_only=True, tag="Room.CallbackAfterDestroyRoom"):
    event_time: Int | None = None


class MemberEnter(WithMembers, frozen=True, tag="Room.CallbackAfterMemberEnter"):
    pass


class MemberLeave(WithMembers, frozen=True, tag="Room.CallbackAfterMemberLeave"):
    pass


class SeatInfoChanged(InRoom, frozen=True, kw_only=True, tag="Mic.CallbackAfterSeatInfoChanged"):
    seat_list: tuple[SeatInfo, ...]
    event_time: Int | None = None


class Changes(msgspec.Struct, frozen=True, rename="pascal"):
    """Everything that an update says of its room, including fields that we do not know."""

    room_info: dict[str, Any]


AnyNotice: TypeAlias = CreateRoom | UpdateRoomInfo | DestroyRoom | MemberEnter | MemberLeave | SeatInfoChanged
COMMANDS: Mapping[type, str] = tags(AnyNotice)

_kind = msgspec.json.Decoder(Kind)
_changes = msgspec.json.Decoder(Changes)
_notice: msgspec.json.Decoder[AnyNotice] = msgspec.json.Decoder(AnyNotice)
# The form that is tried first, by the place where a body mostly has the family of its command.
FAMILY = slice(20, 24)
FIRST: Mapping[bytes, msgspec.json.Decoder[Any]] = {
    b"Room": _notice,
    b"Mic.": _notice,
    b"Live": live.whole_notice,
    b"Foll": live.whole_recording,
    b"Call": calls.whole_notice,
}


def fault(source: Source[Account]) -> str | None:
    """Without a token anyone could send events: the settings must say so, and allow known addresses only."""
    if source.account.insecure_no_signature:
        return fault_without_signature(source)
    return None if source.keys else "secrets: at least one is needed, the console's callback token"


def verify(request: Request, source: Source[Account], now_s: float) -> None:
    """SHA-256 of token and time, in hexadecimal, in the query. It covers the time and nothing else."""
    sent_s = _signed_s(request.query, source.account, source.keys)
    if sent_s is not None:
        check_fresh(sent_s, now_s, source.tolerance_s)


@lru_cache(maxsize=256)  # all callbacks of one second are signed alike; what raises is not remembered
def _signed_s(query: str, account: Account, keys: tuple[Key, ...]) -> int | None:
    """The signed time in Unix seconds, or None for a console without a token. Raises Unverified."""
    values = parameters(query)  # the pages write some names in more than one case
    if parameter(values, "sdkappid") != str(account.sdk_app_id):
        raise BadSignature("the SdkAppid is not that of this source")
    if not keys and account.insecure_no_signature:
        return None
    signature, time = parameter(values, "sign"), parameter(values, "requesttime")
    sent_s = decimal(time, TIME_DIGITS)
    check_hex(signature, _digests(keys, time))
    return sent_s


@lru_cache(maxsize=256)  # the rest of a query differs
def _digests(keys: tuple[Key, ...], time: str) -> Sequence[bytes]:
    return [hashlib.sha256(key + time.encode()).digest() for key in keys]


def signature(request: Request) -> str:
    return parameter(parameters(request.query), "sign").lower()


def sign(body: bytes, source: Source[Account], now_s: float) -> Outgoing:
    """The parameters that prove the sender, without those that repeat the body or describe the client."""
    query = {"SdkAppid": str(source.account.sdk_app_id)}
    if source.keys:
        request_time = f"{int(now_s):0{TIME_DIGITS}}"
        query["Sign"] = _digests(source.keys, request_time)[0].hex()
        query["RequestTime"] = request_time
    return Outgoing(body, query=urlencode(query))


def kept_query(query: str) -> str:
    return without(query, SIGNED_PARAMETERS)


def _command(of_body: Id | None, query: str) -> Id:
    """The command of the body, or else of the query. Raises Unreadable if there is none."""
    if of_body is not None:
        return of_body
    named = [value for value in parameters(query).get("callbackcommand", ()) if value.strip()]
    return required(fitted(named[0] if len(named) == 1 else None, Id | None), "CallbackCommand")


def identify(request: Request) -> Identity:
    """The facts are command, room, time in milliseconds, and the members, the changes or the seats.

    The command is that of the body: the page itself shows a query with another one. Without a time, or with one that
    cannot be, all fields of the callback are its facts. A user's second visit then passes for a re-send of the first
    unless another field differs, such as `MemberCount`: the body has no other fact that tells the two apart.
    """
    body = request.body
    form = FIRST.get(body[FAMILY])
    notice: Any = read(_kind, body) if form is None else read_whole(form, _kind, body)
    if type(notice) not in COMMANDS:
        if notice.callback_command not in ROOM_TYPES:
            return _identify_other(_command(notice.callback_command, request.query), notice, body)
        notice = read_again(_notice, body)
    command = COMMANDS[type(notice)]
    room, which = str(notice.room_id), _which(notice, body)  # raises without a time, too, as normalise() does
    event_type, occurred_s = ROOM_TYPES[command], unix_s(notice.event_time)
    if occurred_s is None:
        return Identity(event_type, all_facts(command, body), room, _created_s(notice))
    return Identity(event_type, (command, room, notice.event_time, *which), room, occurred_s)


def _identify_other(command: Id, notice: Any, body: bytes) -> Identity:
    """The identity of a callback of another family, of which `notice` may be only the kind."""
    reader = READERS.get(command)
    if reader is not None:
        if type(notice) is not reader.form.type:
            notice = read_again(reader.form, body)
        identity = reader.identify(str(command), notice, body)
        if identity is not None:
            return identity
    return identify_unknown(command, body, time="EventTime")


def _created_s(notice: AnyNotice) -> float | None:
    return unix_s(notice.room_info.create_time) if isinstance(notice, CreateRoom) else None


def _which(notice: AnyNotice, body: bytes) -> Sequence[str | int | None]:
    match notice:  # the most frequent first: each case that does not match costs some time
        case MemberEnter():
            return _members(notice)
        case MemberLeave():
            return (notice.type, *_members(notice))
        case CreateRoom() | DestroyRoom():
            return ()
        case UpdateRoomInfo():
            return (canonical(_sent(body)),)
        case SeatInfoChanged():
            return (canonical(_seats(notice)),)
        case _:
            assert_never(notice)


def _members(notice: MemberEnter | MemberLeave) -> list[str]:
    """Each member once, sorted, so that each has the same event id in whatever order a re-send lists them."""
    members = sorted(set(map(str, notice.members)))
    if not members:
        raise Unreadable("the body names no member")
    return members


def _seats(notice: SeatInfoChanged) -> tuple[Seat, ...]:
    return tuple(
        Seat(
            index=seat.index,
            user_id=None if seat.member in EMPTY_SEAT else optional_text(seat.member),
            taken_disabled=flag(seat.is_taken_disabled),
            video_disabled=flag(seat.is_video_disabled),
            audio_disabled=flag(seat.is_audio_disabled),
        )
        for seat in sorted(notice.seat_list, key=lambda seat: seat.index)
    )


def _sent(body: bytes) -> dict[str, Any]:
    """The fields of an update, with the switches as booleans: the page's own sample has one in quotes."""
    info = read_again(_changes, body).room_info
    return {name: _switch(name, value) for name, value in info.items() if name != "RoomId"}


def _switch(name: str, value: Any) -> Any:
    return value == "true" if name in SWITCHES and value in ("true", "false") else value


def normalise(envelope: Envelope) -> tuple[Event, ...]:
    recheck(envelope, identify)
    kind = read_again(_kind, envelope.body)
    command = _command(kind.callback_command, envelope.query)
    if kind.callback_command not in ROOM_TYPES:
        reader = READERS.get(command)
        drafts = (
            () if reader is None else reader.drafts(str(command), read_again(reader.form, envelope.body), envelope.body)
        )
        return finished(envelope, command, drafts) if drafts else normalise_unknown(envelope, command)
    return _events(envelope, envelope.head(command), read_again(_notice, envelope.body))


def _events(envelope: Envelope, head: EventHead, notice: AnyNotice) -> tuple[Event, ...]:
    room, operator = str(notice.room_id), optional_text(notice.operator)
    match notice:
        case MemberEnter():
            heads = _heads(envelope, head, _members(notice))
            return tuple([ParticipantJoined(**head, room_id=room, user_id=user) for user, head in heads])
        case MemberLeave():
            heads, reason = _heads(envelope, head, _members(notice)), REASONS.get(notice.type, "unknown")
            return tuple([ParticipantLeft(**head, room_id=room, user_id=user, reason=reason) for user, head in heads])
        case CreateRoom():
            return (RoomCreated(**head, room_id=room, operator_id=operator, **_about(notice.room_info)),)
        case UpdateRoomInfo():
            about, changes = _about(notice.room_info), _sent(envelope.body)
            return (RoomUpdated(**head, room_id=room, operator_id=operator, changes=changes, **about),)
        case DestroyRoom():
            return (RoomEnded(**head, room_id=room, operator_id=operator),)
        case SeatInfoChanged():
            return (SeatsChanged(**head, room_id=room, seats=_seats(notice)),)
        case _:
            assert_never(notice)


def _about(info: RoomInfo) -> dict[str, str | None]:
    return {"name": info.room_name, "owner_id": optional_text(info.owner), "custom": info.custom_info}


def _heads(envelope: Envelope, head: EventHead, members: Sequence[str]) -> Sequence[tuple[str, EventHead]]:
    """Each member with the head of its event; a single member's event needs no number."""
    if len(members) == 1:
        return [(members[0], head)]
    return [(user, envelope.head(head["provider_type"], place)) for place, user in enumerate(members)]


def _sample(command: str, operator: str, **fields: Any) -> Sample:
    def body(n: int, at_s: float) -> Any:
        room = {"RoomId": f"demo-{n}", **fields}
        about = {"RoomInfo": room} if command in WITH_ROOM_INFO else room
        return {"CallbackCommand": command, "Operator_Account": operator, **about, "EventTime": int(at_s * 1000)}

    return Sample(command, body)


def _member(action: str, user: str, kind: str, count: int) -> Sample:
    command = f"Room.CallbackAfterMember{action}"
    return _sample(command, user, MemberCount=count, Type=kind, MemberList_Account=[user])


def _seat(index: int, user: str) -> Any:
    flags = ("IsTakenDisabled", "IsVideoDisabled", "IsAudioDisabled")
    return {"Index": index, "Member_Account": user, **dict.fromkeys(flags, False)}


WITH_ROOM_INFO = ("Room.CallbackAfterCreateRoom", "Room.CallbackAfterUpdateRoomInfo")
ROOM = {
    "RoomName": "Demo",
    "RoomType": "Meeting",
    "Owner_Account": "teacher",
    "MaxMemberCount": 300,
    "MaxSeatCount": 16,
    **dict.fromkeys(SWITCHES, False),
    "RoomStatus": "Running",
    "IsSeatEnabled": True,
    "TakeSeatMode": "ApplyToTake",
}
SAMPLES = (
    _sample("Room.CallbackAfterCreateRoom", "teacher", **ROOM),
    _member("Enter", "teacher", "Enter", 1),
    _member("Enter", "student", "Enter", 2),
    _sample("Room.CallbackAfterUpdateRoomInfo", "teacher", RoomName="Demo, renamed", IsMessageDisabled=True),
    _sample("Mic.CallbackAfterSeatInfoChanged", "teacher", SeatList=[_seat(0, "student"), _seat(1, "")]),
    _member("Leave", "student", "Kicked", 1),
    _member("Leave", "teacher", "Leave", 0),
    _sample("Room.CallbackAfterDestroyRoom", "teacher"),
    *live.SAMPLES,
    *calls.SAMPLES,
)

PROVIDER = Provider(
    name="roomkit",
    title="Tencent RoomKit, live rooms and calls",
    account=Account,
    example=Example("meetings", {"sdk_app_id": 1400000000}),
    types=TYPES,
    samples=SAMPLES,
    verify=verify,
    covers="the time (SHA-256), where the console has a token",
    strength="time only",
    leaves_open="the content: anyone who sees one request can send others with its signature until its time is too old",
    sign=sign,
    identify=identify,
    keep_query=kept_query,
    normalise=normalise,
    reply=Reply(b'{"ActionStatus":"OK","ErrorInfo":"","ErrorCode":0}'),
    fault=fault,
    signatures=Signatures(signature),
    url_fields=frozenset({"videourl"}),
    shown=frozenset({"sdkappid", "requesttime", "callbackcommand", "contenttype", "clientip", "optplatform"}),
)
