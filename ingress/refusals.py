"""Counts refusals, so that a flood neither fills the log nor costs more than a 429 for each request."""

import logging
from collections import Counter

from hookline.schemas.errors import Refused, TooManyRequests, Unverified

log = logging.getLogger("hookline.ingress")

WINDOW_S = 10.0


class Refusals:
    """Refusals by source and reason in the current window of ten seconds."""

    def __init__(self, max_unverified: int) -> None:
        self._max_unverified = max_unverified
        self._counts: Counter[tuple[str, str]] = Counter()
        self._unverified: Counter[str] = Counter()
        self._ends_s = 0.0

    def note(self, source: str, refusal: Refused, now_s: float) -> Refused:
        """Count a refusal, and log the first of its kind in the window; return it, or TooManyRequests in a flood.

        Only refused requests are counted here: a genuine callback is accepted, however many forgeries arrive.
        """
        if now_s >= self._ends_s:
            self._start_window(now_s)
        reason = refusal.noted_as or refusal.reason
        key = (source, reason)
        self._counts[key] += 1
        if self._counts[key] == 1:
            log.warning("%s: refused: %s (%s)", source, reason, refusal.for_operator)
        if isinstance(refusal, Unverified):
            self._unverified[source] += 1
            if self._unverified[source] > self._max_unverified:
                return TooManyRequests("too many requests that could not be verified")
        return refusal

    def _start_window(self, now_s: float) -> None:
        for (source, reason), count in self._counts.items():
            if count > 1:
                log.warning("%s: refused %d more times: %s", source, count - 1, reason)
        self._counts.clear()
        self._unverified.clear()
        self._ends_s = now_s + WINDOW_S
