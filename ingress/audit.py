"""Records refused requests for the operator: a few of each kind, and a count of the rest.

A flood of forgeries must not become a flood of writes. Each reason of each source has a budget: a burst, then a few
each second. What exceeds it is only counted.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Protocol

from aiohttp import web

from hookline.ingress.connection import peer_of
from hookline.ingress.settings import AuditSettings
from hookline.schemas.attribution import fitting_sources, misplaced, nearest_path
from hookline.schemas.errors import Refused, StaleTimestamp, Unverified
from hookline.schemas.form import FORM
from hookline.schemas.provider import AnySource, Request
from hookline.schemas.redaction import plain, redacted_body, redacted_headers, redacted_query
from hookline.schemas.refusals import UNKNOWN_PATH, RefusedRequest

BURST = 20
COUNTS_EVERY_S = 1.0
_MAX_PATH_CHARACTERS = 512
_MAX_ADDRESS_CHARACTERS = 256
_MAX_PARSED_BYTES = 64 * 2**10
_HINTS_PER_S = 5.0


class RefusalWriter(Protocol):
    """Stores refused requests, off the event loop. Neither call blocks, and both drop what they cannot take."""

    def put(self, request: RefusedRequest) -> None: ...

    def count(self, counts: Mapping[tuple[str, str], int], at_s: float) -> None:
        """Add numbers of refused requests, by source and reason."""
        ...


@dataclass(frozen=True, slots=True)
class RefusedCall:
    """A request that has just been refused, with its source and the status of its response.

    `source` is None for a path that belongs to none.
    """

    request: web.BaseRequest
    source: AnySource | None
    refusal: Refused
    status: int
    now_s: float


@dataclass(frozen=True, slots=True)
class UnreadCall:
    """What was refused before it could be read as a request, with the address that sent it."""

    peer: str
    refusal: Refused
    status: int
    now_s: float


class RefusalRecorder(Protocol):
    """Is told of each refused request, and of all sources that there are."""

    def note(self, call: RefusedCall, sources: Collection[AnySource]) -> None: ...

    def note_unread(self, call: UnreadCall) -> None: ...

    def close(self) -> None: ...


class RefusalAudit:
    """Belongs to one event loop."""

    def __init__(
        self, writer: RefusalWriter, settings: AuditSettings, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._writer = writer
        self._settings = settings
        self._monotonic = monotonic
        self._budgets: dict[tuple[str, str], _Budget] = {}
        self._hints = _Budget(_HINTS_PER_S, monotonic())
        self._counts: Counter[tuple[str, str]] = Counter()
        self._timer: asyncio.TimerHandle | None = None
        self._last_s = 0.0

    def note(self, call: RefusedCall, sources: Collection[AnySource]) -> None:
        """Count a refused request, and record it if the budget of its kind allows."""
        if self._counted(call.source.name if call.source else UNKNOWN_PATH, call.refusal, call.now_s):
            self._writer.put(_record(call, self._hint(call, sources), self._settings))

    def note_unread(self, call: UnreadCall) -> None:
        """Count and record in the same way what has no path, and so belongs to no source."""
        if self._counted(UNKNOWN_PATH, call.refusal, call.now_s):
            self._writer.put(_unread(call))

    def _counted(self, source: str, refusal: Refused, now_s: float) -> bool:
        """Count a refusal; whether the budget of its kind allows a record."""
        kind = (source, refusal.reason_for_operator)
        self._counts[kind] += 1
        self._last_s = now_s
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(COUNTS_EVERY_S, self._hand_over_counts)
        budget = self._budgets.setdefault(kind, _Budget(self._settings.max_per_s, self._monotonic()))
        return budget.takes(self._monotonic())

    def _hint(self, call: RefusedCall, sources: Collection[AnySource]) -> str:
        """What may be the cause, if that costs little: each source that is tried costs as much as a callback."""
        path, _, query = call.request.raw_path.partition("?")
        if call.source is None:
            return nearest_path(path, [each.name for each in sources])
        refusal, body = call.refusal, call.refusal.body
        is_proof_wrong = isinstance(refusal, Unverified) and not isinstance(refusal, StaleTimestamp)
        if not is_proof_wrong or body is None or not self._hints.takes(self._monotonic()):
            return ""
        request = Request(body, call.request.headers, query)
        return misplaced(fitting_sources(request, call.source, sources, call.now_s))

    def close(self) -> None:
        """Hand over what is counted."""
        if self._timer is not None:
            self._timer.cancel()
            self._hand_over_counts()

    def _hand_over_counts(self) -> None:
        self._timer = None
        self._writer.count(dict(self._counts), self._last_s)
        self._counts.clear()


class _Budget:
    """A token bucket."""

    def __init__(self, per_s: float, now_s: float) -> None:
        self._per_s = per_s
        self._left = float(BURST)
        self._at_s = now_s

    def takes(self, now_s: float) -> bool:
        self._left = min(BURST, self._left + (now_s - self._at_s) * self._per_s)
        self._at_s = now_s
        if self._left < 1:
            return False
        self._left -= 1
        return True


def _record(call: RefusedCall, hint: str, settings: AuditSettings) -> RefusedRequest:
    request, source, refusal = call.request, call.source, call.refusal
    path, _, query = request.raw_path.partition("?")
    shown = source.provider.shown if source else frozenset()
    body = refusal.body
    return RefusedRequest(
        at_s=call.now_s,
        source=source.name if source else UNKNOWN_PATH,
        reason=refusal.reason_for_operator,
        detail=plain(refusal.for_operator, _MAX_ADDRESS_CHARACTERS),
        status=call.status,
        peer=plain(peer_of(request), _MAX_ADDRESS_CHARACTERS),
        forwarded=plain(_forwarded(request), _MAX_ADDRESS_CHARACTERS),
        method=plain(request.method, 32),
        path=plain(path, _MAX_PATH_CHARACTERS),
        query=redacted_query(query, shown) if query else "",
        headers=redacted_headers(request.headers.items(), shown),
        body_bytes=(request.content_length or 0) if body is None else len(body),
        body_sha256="" if body is None else sha256(body).hexdigest(),
        body=_body(body, source, settings) if body and settings.bodies else None,
        hint=hint,
        age_s=refusal.age_s if isinstance(refusal, StaleTimestamp) else None,
        exact=exact_request(request, body) if settings.requests and body is not None else None,
    )


def _unread(call: UnreadCall) -> RefusedRequest:
    return RefusedRequest(
        at_s=call.now_s,
        source=UNKNOWN_PATH,
        reason=call.refusal.reason_for_operator,
        detail=plain(call.refusal.for_operator, _MAX_ADDRESS_CHARACTERS),
        status=call.status,
        peer=plain(call.peer, _MAX_ADDRESS_CHARACTERS),
        forwarded="",
        method="",
        path="",
        query="",
        headers=(),
        body_bytes=0,
    )


def exact_request(request: web.BaseRequest, body: bytes) -> bytes | None:
    """A request as it arrived, but for the chunks of a chunked body; None above 64 KiB."""
    version = request.version
    line = f"{request.method} {request.raw_path} HTTP/{version.major}.{version.minor}"
    fields = [b"%s: %s\r\n" % field for field in request.raw_headers]
    found = b"".join([line.encode("utf-8", "surrogateescape"), b"\r\n", *fields, b"\r\n", body])
    return found if len(found) <= _MAX_PARSED_BYTES else None


def _body(body: bytes, source: AnySource | None, settings: AuditSettings) -> str | None:
    """The text of a body with its secrets hidden; None for a large one, whose reading would hold up other requests."""
    if source is None or len(body) > _MAX_PARSED_BYTES:
        return None
    provider = source.provider
    hidden = provider.secret_fields | provider.url_fields
    return redacted_body(body, hidden, settings.max_body_bytes, is_form=provider.content_type == FORM)


def _forwarded(request: web.BaseRequest) -> str:
    """What proxies, or the client itself, wrote about the client's address."""
    return ", ".join(value for name in ("X-Forwarded-For", "Forwarded") for value in request.headers.getall(name, ()))
