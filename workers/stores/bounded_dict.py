"""A dictionary of bounded size, for what a process remembers while its store fails."""

from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")

_MOST = 100_000


class BoundedDict(dict[K, V]):
    """Forgets its oldest entry when it is full."""

    def note(self, key: K, value: V) -> None:
        self[key] = value
        if len(self) > _MOST:
            del self[next(iter(self))]
