"""Counts refusals, so that a flood neither fills the log nor costs more than a 429 for each request."""

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from hookline.schemas.errors import Refused, TooManyRequests, Unverified
from hookline.schemas.redaction import plain

log = logging.getLogger("hookline.ingress")

WINDOW_S = 10.0
_MAX_PATH_CHARACTERS = 128


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a refused request came from, and where to; without a method if it could not be read."""

    client: str
    method: str = ""
    path: str = ""

    def __str__(self) -> str:
        request = f"{plain(self.method, 16)} {plain(self.path, _MAX_PATH_CHARACTERS)} " if self.method else ""
        return f"{request}from {plain(self.client, 64) or 'an unknown address'}"


class Refusals:
    """Refusals by source and reason in the current window of ten seconds."""

    def __init__(self, max_unverified: int) -> None:
        self._max_unverified = max_unverified
        self._counts: Counter[tuple[str, str]] = Counter()
        self._unverified: Counter[str] = Counter()
        self._ends_s = 0.0

    def note(self, source: str, refusal: Refused, now_s: float, origin: Callable[[], Origin]) -> Refused:
        """Count a refusal, and log the first of its kind in the window; return it, or TooManyRequests in a flood.

        Only refused requests are counted here: a genuine callback is accepted, however many forgeries arrive.
        """
        if now_s >= self._ends_s:
            self._start_window(now_s)
        answered = self._within_limit(source, refusal)
        key = (source, answered.reason_for_operator)
        self._counts[key] += 1
        if self._counts[key] == 1:
            _log(source, answered, origin())
        return answered

    def _within_limit(self, source: str, refusal: Refused) -> Refused:
        """The refusal, or TooManyRequests once a source has had too many that were not verified."""
        if not isinstance(refusal, Unverified):
            return refusal
        self._unverified[source] += 1
        if self._unverified[source] <= self._max_unverified:
            return refusal
        cause = f"more than {self._max_unverified:,} requests in {WINDOW_S:.0f} s; {refusal.for_operator}"
        text = "too many requests that could not be verified"
        return TooManyRequests(text, for_operator=cause, body=refusal.body)

    def _start_window(self, now_s: float) -> None:
        for (source, reason), count in self._counts.items():
            if count > 1:
                log.warning("%s: refused %d more times: %s", source, count - 1, reason)
        self._counts.clear()
        self._unverified.clear()
        self._ends_s = now_s + WINDOW_S


def _log(source: str, refusal: Refused, origin: Origin) -> None:
    reason = refusal.reason_for_operator
    facts = {"source": source, "reason": reason, "detail": refusal.for_operator, "peer": origin.client}
    if origin.method:
        facts |= {"method": origin.method, "path": plain(origin.path, _MAX_PATH_CHARACTERS)}
    text = "%s: refused: %s (%s): %s"
    log.warning(text, source, reason, refusal.for_operator, origin, extra={"facts": facts})
