"""Remembers the latest events, to notice two genuine callbacks that have one id and say different things.

Workers handle the first and take the other for a repeat. Bodies alone prove nothing, since many providers fill in some
fields anew with each attempt. So only what the bodies say is compared, once they differ. Each process has its own
memory, and compares what it has received itself.
"""

import logging
import time
from collections.abc import Callable

import msgspec

from hookline.aio.throttle import Throttle, said_less
from hookline.ingress.refusals import WINDOW_S
from hookline.schemas.envelope import Envelope
from hookline.schemas.errors import Unreadable
from hookline.schemas.event_redaction import Redaction
from hookline.schemas.events import CanonicalEvent, Unknown
from hookline.schemas.provider import AnySource

log = logging.getLogger("hookline.ingress")

MAX_BYTES = 8 * 2**20
COMPARE_EVERY_S = 0.05
"""A comparison costs as much as a callback, so a crowd of repeats gets few."""
EVENT_BYTES = 600
"""Of an envelope and its id, beside its body and the texts of the sender."""


class RecentEvents:
    """The envelopes of the latest events, up to `max_bytes` in all, by their ids.

    They are in two halves. The older half is forgotten when the newer one is full.
    """

    def __init__(self, max_bytes: int = MAX_BYTES, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._newer: dict[str, Envelope] = {}
        self._older: dict[str, Envelope] = {}
        self._half_bytes = max_bytes // 2
        self._newer_bytes = 0
        self._comparing = Throttle(COMPARE_EVERY_S, monotonic)
        self._saying = Throttle(WINDOW_S, monotonic)

    def __len__(self) -> int:
        return len(self._newer) + len(self._older)

    def repeated(self, envelope: Envelope) -> Envelope | None:
        """Note an event. The first envelope with its id, if that has another body or query; mostly None."""
        first = self._newer.setdefault(envelope.id, envelope)
        if first is envelope:
            self._newer_bytes += EVENT_BYTES + len(envelope.body) + len(envelope.query) + len(envelope.subject)
            if self._newer_bytes > self._half_bytes:
                self._older, self._newer, self._newer_bytes = self._newer, {}, 0
            first = self._older.get(envelope.id, envelope)
        if first is envelope or (first.body == envelope.body and first.query == envelope.query):
            return None
        return first

    def contradicts(self, first: Envelope, second: Envelope, source: AnySource) -> bool:
        """Whether two envelopes of one id say different things, which is logged. False if many ask at a time."""
        if self._comparing.admit(source.name) is None or _say_the_same(first, second, source):
            return False
        held_back = self._saying.admit(source.name)
        if held_back is not None:
            log.error(
                "%s: two genuine callbacks have the id %s and say different things (id_conflict): workers handle the "
                "first one%s",
                source.name,
                second.id,
                said_less(held_back),
                extra={"facts": {"source": source.name, "event_id": second.id, "reason": "id_conflict"}},
            )
        return True


def _say_the_same(first: Envelope, second: Envelope, source: AnySource) -> bool:
    """Without times, which are those of the attempt where the provider gives none of the event, and signed URLs."""
    second = msgspec.structs.replace(second, occurred_at=first.occurred_at, received_at=first.received_at)
    try:
        return _known(first, source) == _known(second, source)
    except Unreadable:
        return True  # not known to differ


def _known(envelope: Envelope, source: AnySource) -> list[CanonicalEvent]:
    """Its events of known types. Of others nobody knows which fields are those of the attempt."""
    provider = source.provider
    events = Redaction(provider, keep_urls=False)(provider.normalise(envelope))
    return [event for event in events if not isinstance(event, Unknown)]
