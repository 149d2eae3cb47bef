"""A source: one configured account at a provider, with its own URL and secrets."""

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from schemas.provider import Provider

A = TypeVar("A")

DEFAULT_TOLERANCE_S = 300
DEFAULT_MAX_BODY_BYTES = 262_144


class Key(bytes):
    """A secret, ready for a hash function. It never shows itself: not in a log, a traceback or an error."""

    def __repr__(self) -> str:
        return "Key(***)"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return "***"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source(Generic[A]):
    """What a source's settings became at start.

    `account` holds the provider's own settings; any one of `keys` verifies; `tolerance_s` bounds the age, and the
    earliness, of a signed time stamp; an empty `allow_from` lets every address in.
    """

    name: str
    provider: "Provider[A]"
    account: A
    keys: tuple[Key, ...]
    tolerance_s: int = DEFAULT_TOLERANCE_S
    allow_from: tuple[IPv4Network | IPv6Network, ...] = ()
    max_body_bytes: int = DEFAULT_MAX_BODY_BYTES


AnySource = Source[Any]
