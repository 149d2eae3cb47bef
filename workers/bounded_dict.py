"""A dictionary of bounded size, for what a process remembers of deliveries that may never end here."""

from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")


class BoundedDict(dict[K, V]):
    """Forgets its oldest entry when it has more than `limit`."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self._limit = limit

    def note(self, key: K, value: V) -> K | None:
        """Add an entry. The result is the key of the one that is forgotten, if any."""
        self[key] = value
        if len(self) <= self._limit:
            return None
        oldest = next(iter(self))
        del self[oldest]
        return oldest
