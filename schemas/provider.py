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
    """Request headers by name, in any case: those of aiohttp, or a multidict.CIMultiDict."""

    def getall(self, key: str, default: Sequence[str], /) -> Sequence[str]: ...


class Request(msgspec.Struct, frozen=True):
    """One request: the exact bytes of its body, its headers, and the undecoded query string without its `?`."""

    body: bytes
    headers: Headers
    query: str = ""

    def header(self, name: str) -> str:
        """The value of a header that the signature needs.

        Raises MissingSignature if it is absent or blank, BadSignature if it appears twice.
        """
        values = self.headers.getall(name, ())
        if not values or not values[0].strip():
            raise MissingSignature(f"the header {name} is missing")
        if len(values) > 1:
            raise BadSignature(f"the header {name} appears more than once")
        return values[0]


class Key(bytes):
    """A secret as bytes, ready for a hash function. Its text forms hide it in logs, tracebacks and errors."""

    def __repr__(self) -> str:
        return "Key(***)"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return "***"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source(Generic[A]):
    """A configured account at a provider, made from its settings at start.

    `account` holds the provider's own settings. Any one of `keys` verifies. `tolerance_s` bounds how far a signed time
    stamp may lie in the past or the future. An empty `allow_from` allows every address.
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
    """The response that a provider expects."""

    body: bytes = b"{}"
    status: int = 200
    content_type: str = "application/json"


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A signed callback as the provider would send it: its body, and what to add to the headers and the URL."""

    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    query: str = ""


@dataclass(frozen=True, slots=True)
class QueryFacts:
    """For a provider whose query string says something of the event that its body may not say.

    `keep(query)` returns what travels with the envelope: the query without the signature. `identify(body, kept)` is
    used instead of the provider's `identify`.
    """

    keep: Callable[[str], str]
    identify: Callable[[bytes, str], Identity]


@dataclass(frozen=True, slots=True)
class Sample:
    """A sample callback of one type.

    `body(n, at_s)` makes its JSON value. `n` is the number of the story, and each story has its own room; `at_s` is
    the time of the event in Unix seconds.
    """

    type: str
    body: Callable[[int, float], Any]


@dataclass(frozen=True, slots=True)
class Example:
    """The source of this provider in a new settings file: its name, and the provider's own settings."""

    source: str
    settings: Mapping[str, str | int | bool]


class NoSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The default for `Provider.account`: the sources of this provider need no settings of its own."""


def needs_a_secret(source: Source[Any]) -> str | None:
    """The default for `Provider.fault`: without a secret nothing can be verified."""
    return None if source.keys else "secrets: at least one is needed, or anyone could send events"


def no_challenge(request: Request, source: Source[Any], now_s: float) -> Reply | None:
    """The default for `Provider.challenge`: the provider does not check URLs."""
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

    The functions use no clock, network or environment, and raise only our own errors, whatever the bytes:

    - `verify(request, source, now_s)` returns if the request is genuine, else raises Unverified; or MalformedRequest
      where the signature is inside a body that cannot be read.
    - `identify(body)` returns the identity of the event, for verified bytes; raises Unreadable.
    - `normalise(envelope)` makes the canonical events; raises Unreadable.
    - `challenge(request, source, now_s)` returns the reply to a URL check, or None for any other request; raises as
      `verify` does.
    - `sign(body, source, now_s)` signs as the provider does, for samples and tests; raises ValueError if the body
      cannot carry a signature.
    - `fault(source)` is one sentence that names the key, if the settings of a source contradict each other.

    The name, the title, `verify`, `identify` and `normalise` are required. `types` maps the provider's own types to our
    topics. `samples` tell a short story, in order. `query_facts` is for facts in the query string. `covers` and
    `leaves_open` say in a few words what a good signature proves and what it does not.
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
    query_facts: QueryFacts | None = None
    sign: Callable[[bytes, Source[A], float], Outgoing] = no_sign
    covers: str = ""
    leaves_open: str = ""
    reply: Reply = Reply()
    challenge: Callable[[Request, Source[A], float], Reply | None] = no_challenge
    key: Callable[[str], Key] = key_from_text
    fault: Callable[[Source[A]], str | None] = needs_a_secret


AnySource = Source[Any]
