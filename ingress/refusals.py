"""Counting refusals: a log that a flood cannot fill, and 429 for whoever sends forgeries by the thousand."""

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
        """Count and log a refusal; return it, or TooManyRequests instead of one forgery too many.

        Only what failed its check comes here: a genuine callback is never refused because of other people's forgeries.
        """
        if now_s >= self._ends_s:
            self._turn(now_s)
        key = (source, refusal.reason)
        self._counts[key] += 1
        if self._counts[key] == 1:
            log.warning("%s: refused: %s (%s)", source, refusal.reason, refusal)
        if isinstance(refusal, Unverified):
            self._unverified[source] += 1
            if self._unverified[source] > self._max_unverified:
                return TooManyRequests("too many requests that could not be verified")
        return refusal

    def _turn(self, now_s: float) -> None:
        for (source, reason), count in self._counts.items():
            if count > 1:
                log.warning("%s: refused %d more times: %s", source, count - 1, reason)
        self._counts.clear()
        self._unverified.clear()
        self._ends_s = now_s + WINDOW_S
