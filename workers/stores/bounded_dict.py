"""What a process remembers of its dealings with a store while those fail."""

from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")

_MOST = 100_000


class BoundedDict(dict[K, V]):
    """A bounded one: the oldest is forgotten for the newest."""

    def note(self, key: K, value: V) -> None:
        self[key] = value
        if len(self) > _MOST:
            del self[next(iter(self))]
