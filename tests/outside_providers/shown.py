"""Acme RTC's callbacks as Hookline's events."""

import hmac
from typing import Any

import msgspec

from hookline.events import RoomCreated
from hookline.provider import Envelope, Identity, Provider, Request, Source, check_hex, read


class Opened(msgspec.Struct):
    room: str
    at: float


DECODER = msgspec.json.Decoder(Opened)


def verify(request: Request, source: Source[Any], now_s: float) -> None:
    check_hex(request.header("Acme-Signature"), [hmac.digest(key, request.body, "sha256") for key in source.keys])


def identify(body: bytes) -> Identity:
    opened = read(DECODER, body)
    return Identity("room.created", (opened.room, str(opened.at)), subject=opened.room, occurred_s=opened.at)


def normalise(envelope: Envelope) -> tuple[RoomCreated, ...]:
    return (RoomCreated(**envelope.head("opened"), room_id=read(DECODER, envelope.body).room),)


PROVIDER = Provider(name="acme", title="Acme RTC", verify=verify, identify=identify, normalise=normalise)
