"""What to log while something stays wrong: the reason at once, and again each minute."""

import time
from collections.abc import Callable

_AGAIN_S = 60.0


class Notice:
    """Says whether a text is due. `clock` returns seconds that never go back."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._said = ""
        self._due_s = 0.0

    def is_due(self, text: str) -> bool:
        """Whether to log this text now: it is new, or was logged a minute ago."""
        now_s = self._clock()
        if text == self._said and now_s < self._due_s:
            return False
        self._said, self._due_s = text, now_s + _AGAIN_S
        return True

    def forget(self) -> None:
        """It is over: the next text is new."""
        self._said = ""
