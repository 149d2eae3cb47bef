"""Headers of a message besides those of its envelope: the attempt, why it is a dead letter, the server's own."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from hookline.schemas.broker import Parked
from hookline.schemas.dead_letters import EVENTS, REPLAYS, UNROUTED, DeadLetter

ATTEMPT = "hookline-attempt"
_QUEUE, _REASON, _DETAIL = "hookline-queue", "hookline-reason", "hookline-detail"
_ATTEMPTS, _PARKED_AT = "hookline-attempts", "hookline-parked-at"
_DEATH_NOTES = frozenset({_QUEUE, _REASON, _DETAIL, _ATTEMPTS, _PARKED_AT})
_MAX_DETAIL_BYTES = 16 * 1024
_MAX_REASON_BYTES = 255
_COUNT = re.compile(r"[1-9][0-9]{0,8}")
# Set by the server. Servers before 4.0 read x-death from publishers, and drop a message that comes by again as a loop.
_BROKERS_OWN = ("x-death", "x-first-death-", "x-last-death-", "x-delivery-count", "x-acquired-count")


def read(raw: Mapping[str, Any] | None) -> tuple[dict[str, str], int]:
    """The headers of a message as a worker sees them, and its attempt.

    Other programs may publish values of any type. They become text.
    """
    return read_texts({name: _text(value) for name, value in (raw or {}).items() if not name.startswith(_BROKERS_OWN)})


def read_texts(headers: dict[str, str]) -> tuple[dict[str, str], int]:
    """The same for headers that are all texts, none of them set by the server."""
    if ATTEMPT not in headers:
        return headers, 1
    return headers, _count(headers.pop(ATTEMPT)) or 1


def death_notes(parked: Parked, queue: str, now: datetime) -> dict[str, str]:
    """The headers that say why a message is a dead letter."""
    notes = {
        _QUEUE: queue,
        _REASON: _end_of(parked.reason, _MAX_REASON_BYTES),
        _DETAIL: _end_of(parked.detail, _MAX_DETAIL_BYTES),
        _ATTEMPTS: str(parked.attempts),
        _PARKED_AT: now.isoformat(),
    }
    return notes | {EVENTS: ",".join(parked.events)} if parked.events else notes  # kept when it is replayed


def dead_letter(raw: Mapping[str, Any] | None, content_type: str, body: bytes, reason: str) -> DeadLetter:
    """A dead letter from its message. `reason` is used where no worker has noted one."""
    headers, attempt = read(raw)
    notes = {name: headers.pop(name) for name in _DEATH_NOTES & headers.keys()}
    death = _last_death(raw or {})
    return DeadLetter(
        headers=headers,
        content_type=content_type,
        body=body,
        reason=notes.get(_REASON, reason),
        detail=notes.get(_DETAIL, _text(death.get("reason", ""))),
        attempts=_count(notes.get(_ATTEMPTS, "")) or (0 if reason == UNROUTED else attempt),
        parked_at=_moment(notes.get(_PARKED_AT, death.get("time"))),
        replays=_count(headers.get(REPLAYS, "")),
    )


def _last_death(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    deaths = raw.get("x-death")
    return deaths[0] if isinstance(deaths, list) and deaths and isinstance(deaths[0], dict) else {}


def _moment(value: object) -> datetime | None:
    try:
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _count(text: str) -> int:
    return int(text) if _COUNT.fullmatch(text) else 0


def _text(value: object) -> str:
    if isinstance(value, bytes | bytearray):
        return value.decode("utf-8", "replace")
    return str(value)


def _end_of(text: str, max_bytes: int) -> str:
    """As much of the end as fits, since a traceback ends with the error."""
    return text.encode("utf-8", "replace")[-max_bytes:].decode("utf-8", "ignore")
