"""Headers of a message besides those of its envelope: the attempt, why it is a dead letter, the server's own."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from hookline.schemas.broker import Again, Parked
from hookline.schemas.copies import COPY
from hookline.schemas.dead_letters import EVENTS, PARKED_AT, REPLAYS, UNROUTED, DeadLetter
from hookline.schemas.retries import PendingRetry, end_of

ATTEMPT = "hookline-attempt"
_QUEUE, _REASON, _DETAIL = "hookline-queue", "hookline-reason", "hookline-detail"
_ATTEMPTS = "hookline-attempts"
_DEATH_NOTES = frozenset({_QUEUE, _REASON, _DETAIL, _ATTEMPTS, PARKED_AT})
_RETRY_REASON, _RETRY_ERROR, _DUE_AT = "hookline-retry-reason", "hookline-retry-error", "hookline-due-at"
_RETRY_NOTES = frozenset({_RETRY_REASON, _RETRY_ERROR, _DUE_AT})
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
    for name in _RETRY_NOTES & headers.keys():
        del headers[name]
    return headers, _count(headers.pop(ATTEMPT)) or 1


def retry_notes(again: Again, now: datetime) -> dict[str, str]:
    """The headers of a message that waits for its next attempt: its number, when it is due, and why it waits."""
    due_at = now + timedelta(seconds=again.delay_s)
    notes = {ATTEMPT: str(again.attempt), _DUE_AT: due_at.isoformat(), _RETRY_REASON: again.reason}
    return notes | {_RETRY_ERROR: end_of(again.kept_error)} if again.kept_error else notes


def pending_retry(raw: Mapping[str, Any] | None, content_type: str, body: bytes) -> PendingRetry:
    """A pending retry from its message."""
    notes = {name: _text(value) for name, value in (raw or {}).items() if name in _RETRY_NOTES}
    headers, attempt = read(raw)
    headers.pop(COPY, None)
    return PendingRetry(
        headers=headers,
        content_type=content_type,
        body=body,
        attempt=attempt,
        due_at=_moment(notes.get(_DUE_AT)),
        reason=notes.get(_RETRY_REASON, ""),
        error=notes.get(_RETRY_ERROR, ""),
    )


def death_notes(parked: Parked, queue: str, now: datetime) -> dict[str, str]:
    """The headers that say why a message is a dead letter."""
    notes = {
        _QUEUE: queue,
        _REASON: end_of(parked.reason, _MAX_REASON_BYTES),
        _DETAIL: end_of(parked.detail, _MAX_DETAIL_BYTES),
        _ATTEMPTS: str(parked.attempts),
        PARKED_AT: now.isoformat(),
    }
    return notes | {EVENTS: ",".join(parked.events)} if parked.events else notes  # kept when it is replayed


def dead_letter(raw: Mapping[str, Any] | None, content_type: str, body: bytes, reason: str) -> DeadLetter:
    """A dead letter from its message. `reason` is used where no worker has noted one."""
    headers, attempt = read(raw)
    notes = {name: headers.pop(name) for name in _DEATH_NOTES & headers.keys()}
    headers.pop(COPY, None)  # a replay is no copy
    death = _last_death(raw or {})
    return DeadLetter(
        headers=headers,
        content_type=content_type,
        body=body,
        reason=notes.get(_REASON, reason),
        detail=notes.get(_DETAIL, _text(death.get("reason", ""))),
        attempts=_count(notes.get(_ATTEMPTS, "")) or (0 if reason == UNROUTED else attempt),
        parked_at=_moment(notes.get(PARKED_AT, death.get("time"))),
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
