"""The events of a run: signed KRTC callbacks, numbered within their room. Nothing here is Hookline's own code."""

import hmac
import json
import time
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias
from zlib import crc32

Type: TypeAlias = Literal["joined", "left"]

_PARTITIONS = 16
_EVENT_TYPES: dict[Type, int] = {"joined": 103, "left": 104}


class Key(NamedTuple):
    """An event's room, and its number within the room."""

    room: str
    number: int


@dataclass(slots=True)
class Sent:
    """An event that was sent. `acked_at` is when a 2xx came; times are monotonic."""

    key: Key
    type: Type
    first_tried_at: float
    acked_at: float | None = None
    tries: int = 0


def body(key: Key, event_type: Type) -> bytes:
    now_s = time.time()
    number = _EVENT_TYPES[event_type]
    payload = {"channelName": key.room, "uid": str(key.number), "platform": 1, "clientSeq": 0, "ts": int(now_s)}
    notice = {
        "noticeId": f"{key.room}-{key.number}",
        "productId": 1,
        "eventType": number,
        "notifyMs": int(now_s * 1000),
        "payload": payload,
    }
    return json.dumps(notice).encode()


def signature(secret: str, content: bytes) -> str:
    return hmac.digest(secret.encode(), content, "sha256").hex()


def key_of(content: bytes) -> Key | None:
    """The key of the event in a message; None for a message that is no event of the run."""
    try:
        payload: Any = json.loads(content)["payload"]
        return Key(str(payload["channelName"]), int(payload["uid"]))
    except (ValueError, KeyError, TypeError):
        return None


def partition(room: str) -> int:
    """The partition of an ordered queue that a room belongs to, as docs promise: crc32 of the subject."""
    return crc32(room.encode()) % _PARTITIONS
