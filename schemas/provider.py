"""What a provider's module declares, in one `Provider` value; and a `Source`, one configured account at a provider."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from typing import Any, Generic, Protocol, TypeVar, cast

import msgspec

from hookline.schemas.envelope import Envelope, Identity
from hookline.schemas.errors import BadSignature, MissingSignature
from hookline.schemas.events import Event

A = TypeVar("A")

DEFAULT_TOLERANCE_S = 300
DEFAULT_MAX_BODY_BYTES = 262_144


class Headers(Protocol):
    """Request headers by name in any case; aiohttp's, and multidict.CIMultiDict."""

    def getall(self, key: str, default: Sequence[str], /) -> Sequence[str]: ...


class Request(msgspec.Struct, frozen=True):
    """One request as it came: the exact bytes of the body, and the query string undecoded, without its `?`."""

    body: bytes
    headers: Headers
    query: str = ""

    def header(self, name: str) -> str:
        """The value of a header that the signature needs.

        Raises MissingSignature if it is absent or blank, BadSignature if it is there twice.
        """
        values = self.headers.getall(name, ())
        if not values or not values[0].strip():
            raise MissingSignature(f"the header {name} is missing")
        if len(values) > 1:
            raise BadSignature(f"the header {name} is there more than once")
        return values[0]


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


@dataclass(frozen=True, slots=True)
class Reply:
    """What the provider wants to hear."""

    body: bytes = b"{}"
    status: int = 200
    content_type: str = "application/json"


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A callback as the provider would send it, for samples: what to add to the URL and the headers, and the body."""

    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    query: str = ""


@dataclass(frozen=True, slots=True)
class Sample:
    """A sample callback of one type.

    `body(n, at_s)` makes its JSON value: `n` is the number of the story (each has another room), `at_s` the Unix time
    at which it happens, in seconds.
    """

    type: str
    body: Callable[[int, float], Any]


@dataclass(frozen=True, slots=True)
class Example:
    """How a source of this provider looks in a fresh settings file: its name, and the provider's own settings."""

    source: str
    settings: Mapping[str, str | int | bool]


class NoSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The default for `Provider.account`: the sources of this provider need no settings of its own."""


def needs_a_secret(source: Source[Any]) -> str | None:
    """The default for `Provider.fault`: without a secret nothing can be verified."""
    return None if source.keys else "secrets: at least one is needed, or anyone could send events"


def no_challenge(request: Request, source: Source[Any], now_s: float) -> Reply | None:
    """The default for `Provider.challenge`: a provider that does not check URLs."""
    return None


def no_sign(body: bytes, source: Source[Any], now_s: float) -> Outgoing:
    """The default for `Provider.sign`: callbacks cannot be signed here. Raises ValueError."""
    raise ValueError("its provider has no `sign`")


def key_from_text(secret: str) -> Key:
    """The default for `Provider.key`: the UTF-8 bytes of the secret as the provider shows it."""
    return Key(secret.encode())


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider(Generic[A]):
    """Everything about one provider.

    The functions touch no clock, network or environment, and raise nothing but our own errors whatever the bytes:

    - `verify(request, source, now_s)` returns if the request is genuine, else raises Unverified; MalformedRequest only
      where the proof is inside a body that cannot be read.
    - `identify(body)` says which event it is, for verified bytes; raises Unreadable.
    - `normalise(envelope)` makes the canonical events; raises Unreadable.
    - `challenge(request, source, now_s)` answers a check of the URL, if the request is one; raises as `verify` does.
    - `sign(body, source, now_s)` is the provider's side, for samples and tests; raises ValueError if the body cannot
      carry a signature.
    - `fault(source)` is one sentence that names the key, if the settings of a source do not go together.

    The name, the title, `verify`, `identify` and `normalise` are required. `types` maps the provider's own types to our
    topics, `samples` tell a little story in order; `covers` and `leaves_open` say in a few words what a good signature
    proves and what it does not.
    """

    name: str
    title: str
    verify: Callable[[Request, Source[A], float], None]
    identify: Callable[[bytes], Identity]
    normalise: Callable[[Envelope], tuple[Event, ...]]
    account: type[A] = cast("Any", NoSettings)  # noqa: RUF009  a class, which nothing changes
    types: Mapping[str, str] = field(default_factory=dict)
    example: Example = Example("main", {})
    samples: Sequence[Sample] = ()
    sign: Callable[[bytes, Source[A], float], Outgoing] = no_sign
    covers: str = ""
    leaves_open: str = ""
    reply: Reply = Reply()
    challenge: Callable[[Request, Source[A], float], Reply | None] = no_challenge
    key: Callable[[str], Key] = key_from_text
    fault: Callable[[Source[A]], str | None] = needs_a_secret


AnySource = Source[Any]
