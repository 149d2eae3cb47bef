"""Whether what is written is refused for a reason that lasts, such as a full queue or a full disk."""

import time
from collections.abc import Callable

_LASTS = 5
_MOST = 20
TRY_AGAIN_S = 10.0


class RefusalTally:
    """Refusals minus successes, counted from 0 to 20. From 5 on the reason lasts, until as many successes have come.

    While a load balancer sends nothing, nothing succeeds: after ten seconds without a refusal `lasting` is empty, and
    the next refusal brings the reason back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._reason = ""
        self._refused_s = 0.0
        self.count = 0

    @property
    def lasting(self) -> str:
        """The code of the reason; empty if there is none."""
        return self._reason if self._reason and self._clock() < self._refused_s + TRY_AGAIN_S else ""

    def refused(self, reason: str) -> None:
        self.count = min(self.count + 1, _MOST)
        self._refused_s = self._clock()
        if self._reason or self.count >= _LASTS:
            self._reason = reason

    def accepted(self) -> None:
        """Cheap enough to leave out: call it only while `count` is not 0."""
        self.count -= 1
        if self.count <= 0:
            self.clear()

    def clear(self) -> None:
        self.count, self._reason = 0, ""
