"""A dictionary of bounded size, for what a process remembers while its store fails."""

from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")

_MOST = 100_000


class BoundedDict(dict[K, V]):
    """Forgets its oldest entry when it is full."""

    def note(self, key: K, value: V) -> K | None:
        """Add an entry. The result is the key of the one that is forgotten, if any."""
        self[key] = value
        if len(self) <= _MOST:
            return None
        oldest = next(iter(self))
        del self[oldest]
        return oldest
