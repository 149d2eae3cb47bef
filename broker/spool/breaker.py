"""Whether publishes go to the broker first, or to the spool at once."""

import asyncio
import logging

from hookline.aio.retry_delays import RetryDelays

log = logging.getLogger("hookline.spool")

PROBE = RetryDelays(first_s=0.2, max_s=2.0)
"""Between tries of a broker that does not answer."""

_SAY_EVERY_S = 10.0


class Breaker:
    """Open from the first confirm that is overdue until the broker answers in time."""

    def __init__(self, in_time_s: float) -> None:
        self.is_open = False
        self._in_time_s = in_time_s
        self._loop = asyncio.get_running_loop()
        self._said_s = -_SAY_EVERY_S
        self._failures = 0
        self._probe_s = 0.0

    def open(self) -> None:
        """A confirm is overdue."""
        if not self.is_open:
            self.is_open = True
            self._failures = 0
            self._plan_probe()
            self._say(logging.WARNING, "the broker does not confirm in time: events go to the spool at once")

    def answered(self, sent_s: float) -> None:
        """The broker has answered a publish that was sent at this time of the event loop."""
        if self._loop.time() - sent_s < self._in_time_s:
            self.close()

    def close(self) -> None:
        """The broker has answered in time."""
        if self.is_open:
            self.is_open = False
            self._say(logging.INFO, "the broker answers in time again")

    def lets_one_through(self) -> bool:
        """Whether one event may be published to try the broker, if no spooled one can be: each time that one is due."""
        if self._loop.time() < self._probe_s:
            return False
        self._plan_probe()
        return True

    def _plan_probe(self) -> None:
        self._failures += 1
        self._probe_s = self._loop.time() + PROBE.delay_s(self._failures)

    def _say(self, level: int, text: str) -> None:
        """Log a change, unless they come one after the other."""
        if self._loop.time() - self._said_s >= _SAY_EVERY_S:
            self._said_s = self._loop.time()
            log.log(level, "%s", text)
