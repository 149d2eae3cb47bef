"""How long to wait before the next try of something of our own: a connection, a process, a publish.

When a failed event is tried again is another matter: `workers.api.Backoff` says that.
"""

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RetryDelays:
    """Delays that double from `first_s` up to `max_s`. Each is cut by up to a half at random, to spread a crowd."""

    first_s: float
    max_s: float

    def delay_s(self, failures: int) -> float:
        """Seconds to wait after so many failures in a row, counted from 1."""
        limit_s = min(self.max_s, self.first_s * 2.0 ** min(failures - 1, 30))
        return random.uniform(limit_s / 2, limit_s)  # noqa: S311  # no secret
