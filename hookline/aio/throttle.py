"""Says something once in a while, however often it happens."""

import time
from collections.abc import Callable, Hashable

_MAX_KEYS = 1000
_SAY_EVERY_S = 10.0


class Throttle:
    """Lets each key pass once in `interval_s`, and counts how often it did not. Remembers a thousand keys."""

    def __init__(self, interval_s: float, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._interval_s = interval_s
        self._monotonic = monotonic
        self._passed: dict[Hashable, tuple[float, int]] = {}

    def admit(self, key: Hashable) -> int | None:
        """How often the key was held back since it last passed; None if it is held back now."""
        now_s = self._monotonic()
        passed_s, held_back = self._passed.pop(key, (-self._interval_s, 0))
        passes = now_s - passed_s >= self._interval_s
        self._passed[key] = (now_s, 0) if passes else (passed_s, held_back + 1)
        if len(self._passed) > _MAX_KEYS:
            del self._passed[next(iter(self._passed))]
        return held_back if passes else None


class Outage:
    """What to log of a fault that may last, or come and go: it once in ten seconds, and its end if it was logged."""

    def __init__(self) -> None:
        self._throttle = Throttle(_SAY_EVERY_S)
        self._is_said = False

    def due(self, fault: str) -> str | None:
        """The fault, and how often it was held back; None if it is held back now."""
        held_back = self._throttle.admit(fault)
        if held_back is None:
            return None
        self._is_said = True
        return f"{fault}{said_less(held_back)}"

    def ends(self) -> bool:
        """Whether to log that it is over."""
        was_said, self._is_said = self._is_said, False
        return was_said


def said_less(held_back: int) -> str:
    """The end of a line that was held back so many times before."""
    return f" (and {held_back} times more before)" if held_back else ""
