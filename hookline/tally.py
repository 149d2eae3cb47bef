"""How many deliveries of each queue ended how, told at the end."""

import logging
from collections import Counter

from hookline.logs import report
from schemas.broker import Again
from workers.pipeline import Work

log = logging.getLogger("hookline")


class Tally:
    """Every delivery counts once, under its outcome; those that came late count as that, too."""

    def __init__(self) -> None:
        self._counts: dict[str, Counter[str]] = {}

    def report(self, queue: str, work: Work, seconds: float) -> None:
        """Tell of a settled delivery, and count it."""
        counts = self._counts.setdefault(queue, Counter())
        outcome = work.outcome
        counts[f"again ({outcome.reason})" if isinstance(outcome, Again) else outcome.reason] += 1
        counts["late"] += work.late
        report(queue, work, seconds)

    def tell(self) -> None:
        """One line for each queue that had anything."""
        for queue, counts in self._counts.items():
            log.info("%s: %s", queue, ", ".join(f"{count} {what}" for what, count in counts.items() if count))
