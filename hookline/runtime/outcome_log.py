"""How many deliveries of each queue ended how, told at the end; and which of them have a line of their own."""

import asyncio
import logging
import time
from collections import Counter, defaultdict
from collections.abc import Mapping

from hookline.runtime.logs import is_good, log_together, report
from hookline.schemas.broker import Again
from hookline.workers.work import Work

log = logging.getLogger("hookline")


class OutcomeLog:
    """Every delivery counts once, under its outcome; those that came late count as that, too.

    What went wrong always has a line. Of what ended well so many have one each second, and for the rest of that second
    each queue has one together; with a limit of 0 there are none.
    """

    def __init__(self, log_events_per_s: int) -> None:
        self._log_events_per_s = log_events_per_s
        self._counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._unlisted: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._listed = 0
        self._second_ends_s = 0.0

    def report(self, queue: str, work: Work, seconds: float) -> None:
        """Tell of a settled delivery, and count it."""
        _count(self._counts[queue], work)
        if not is_good(work.outcome) or self._has_room():
            report(queue, work, seconds)
        elif self._log_events_per_s:
            self._leave_out(queue, work)

    def log_totals(self) -> None:
        """One line for each queue that had anything."""
        self._log_unlisted()
        for queue, counts in self._counts.items():
            log.info("%s: %s", queue, _sum(counts))

    def _has_room(self) -> bool:
        """Whether one more may have its line in this second."""
        now_s = time.monotonic()
        if now_s >= self._second_ends_s:
            self._second_ends_s, self._listed = now_s + 1, 0
        self._listed += 1
        return self._listed <= self._log_events_per_s

    def _leave_out(self, queue: str, work: Work) -> None:
        if not self._unlisted:
            asyncio.get_running_loop().call_later(self._second_ends_s - time.monotonic(), self._log_unlisted)
        _count(self._unlisted[queue], work)

    def _log_unlisted(self) -> None:
        for queue, counts in self._unlisted.items():
            log_together(
                f"{queue}: and {_sum(counts)} that are not listed one by one", {"queue": queue, "unlisted": counts}
            )
        self._unlisted.clear()


def _count(counts: Counter[str], work: Work) -> None:
    outcome = work.outcome
    counts[f"again ({outcome.reason})" if isinstance(outcome, Again) else outcome.reason] += 1
    if work.late:
        counts["late"] += 1


def _sum(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {what}" for what, count in counts.items())
