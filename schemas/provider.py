"""What a provider's module declares, in one `Provider` value; and a `Source`, one configured account at a provider."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, Protocol, TypeAlias, TypeVar, cast

import msgspec

from hookline.schemas.envelope import Envelope, Identity
from hookline.schemas.errors import BadSignature, MissingSignature
from hookline.schemas.events import Event
from hookline.schemas.networks import Network, names_everybody

A = TypeVar("A")

Strength: TypeAlias = Literal["body", "fields", "time only", "shared secret", "none"]
"""What a signature covers: the whole body, named fields of it, the time, nothing (a password), or there is none."""

DEFAULT_TOLERANCE_S = 300
DEFAULT_MAX_BODY_BYTES = 262_144
DEFAULT_MIN_SECRET_BYTES = 16


class Headers(Protocol):
    """Request headers by name, in any case: those of aiohttp, or a multidict.CIMultiDict."""

    def getall(self, key: str, default: Sequence[str], /) -> Sequence[str]: ...


class NoHeaders:
    """The headers of a request that is no longer at hand."""

    def getall(self, key: str, default: Sequence[str], /) -> Sequence[str]:  # noqa: ARG002  of the protocol
        return default


class Request(msgspec.Struct, frozen=True):
    """One request: the exact bytes of its body, its headers, and the undecoded query string without its `?`."""

    body: bytes
    headers: Headers = NoHeaders()
    query: str = ""

    def find(self, name: str) -> str | None:
        """The value of a header that need not be there; None for one that is absent, blank or repeated."""
        values = self.headers.getall(name, ())
        return values[0] if len(values) == 1 and values[0].strip() else None

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

    def __init__(self, *_: object) -> None:
        self._keyed: dict[str, tuple[hashlib._Hash, hashlib._Hash]] = {}  # the two hashes of an HMAC, with the key

    def hmac(self, content: bytes, algorithm: str) -> bytes:
        """The HMAC of the content. The key is hashed once, and not for each callback as by `hmac.digest`."""
        inner, outer = self._keyed.get(algorithm) or self._begin_hmac(algorithm)
        inner, outer = inner.copy(), outer.copy()
        inner.update(content)
        outer.update(inner.digest())
        return outer.digest()

    def _begin_hmac(self, algorithm: str) -> "tuple[hashlib._Hash, hashlib._Hash]":
        """RFC 2104."""
        inner, outer = hashlib.new(algorithm), hashlib.new(algorithm)
        key = self if len(self) <= inner.block_size else hashlib.new(algorithm, self).digest()
        block = key.ljust(inner.block_size, b"\0")
        inner.update(bytes(byte ^ 0x36 for byte in block))
        outer.update(bytes(byte ^ 0x5C for byte in block))
        self._keyed[algorithm] = inner, outer
        return inner, outer

    def __repr__(self) -> str:
        return "Key(***)"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return "***"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source(Generic[A]):
    """A configured account at a provider, made from its settings at start.

    `account` holds the provider's own settings. Any one of `keys` verifies. `tolerance_s` bounds how far a signed time
    stamp may lie in the past or the future. An empty `allow_from` allows every address. With a signature that does not
    cover the body, more than `max_bodies_per_signature` different bodies for one signature are refused; 0 only counts.
    `public_url` is the URL as the provider calls it, for schemes that sign it.
    """

    name: str
    provider: "Provider[A]"
    account: A
    keys: tuple[Key, ...]
    tolerance_s: int = DEFAULT_TOLERANCE_S
    allow_from: tuple[Network, ...] = ()
    max_body_bytes: int = DEFAULT_MAX_BODY_BYTES
    max_bodies_per_signature: int = 0
    public_url: str = ""


class Reply(msgspec.Struct, frozen=True, cache_hash=True):
    """The response that a provider expects."""

    body: bytes = b"{}"
    status: int = 200
    content_type: str = "application/json"


@dataclass(frozen=True, slots=True)
class Signatures:
    """For a scheme that does not cover the body: what the signature of a verified request is.

    `of(request)` returns the same text for all requests that carry one signature, in whatever form. `usual_bodies` is
    how many callbacks the provider may sign alike: those of one second.
    """

    of: Callable[[Request], str]
    usual_bodies: int = 100


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A signed callback as the provider would send it: its body, and what to add to the headers and the URL."""

    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    query: str = ""


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


def fault_without_signature(source: Source[Any]) -> str | None:
    """For the `Provider.fault` of a provider with a setting `insecure_no_signature`, where a source has set it.

    Only the addresses prove the sender then, so they are needed, and must not name everybody.
    """
    if source.keys:
        return "insecure_no_signature: it contradicts secrets; remove one of the two"
    if not source.allow_from:
        return "allow_from: without a signature the addresses of the provider are needed, or anyone could send"
    if names_everybody(source.allow_from):
        return "allow_from: it names everybody, and without a signature anyone could send"
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
    - `identify(request)` returns the identity of the event, for a verified request; raises Unreadable.
    - `normalise(envelope)` makes the canonical events; raises Unreadable.
    - `challenge(request, source, now_s)` returns the reply to a check of the URL, which is answered and never
      published, or None for any other request. It decides whether the check needs a proof, and raises as `verify` does.
    - `sign(body, source, now_s)` signs as the provider does, for samples and tests; raises ValueError if the body
      cannot carry a signature.
    - `fault(source)` is one sentence that names the key, if the settings of a source contradict each other.

    The name, the title, `verify`, `identify` and `normalise` are required. `types` maps the provider's own types to our
    topics, or to several where the content decides. `samples` tell a short story, in order.
    `keep_query(query)` returns what of the query string travels with the envelope, without the signature: where it
    says something of the event, `identify` sees that much of it. `covers` and `leaves_open`
    say in a few words what a good signature proves and what it does not, `strength` in one. `min_secret_bytes` is how
    long the secrets that the provider issues are at least, where that is less than 16; a shorter one is warned of.
    `signatures` is for a scheme that does not cover the body.

    `checks_url_by_get` is for a provider that sends a GET request to a URL when it is entered: it is answered, and says
    nothing. `content_type` is what the provider sends, `addresses` are the networks that it publishes, for
    `allow_from = ["provider"]`. `resends_for_s` is how long after an event the provider may send it again: a store that
    forgets sooner is warned of.

    `shown` names the provider's own headers and query parameters that hold no secret, in lower case: the audit of
    refused requests hides all others. `secret_fields` names fields of the body in lower case, at any depth, whose
    values are never kept, `url_fields` those whose URLs let anybody in: they are kept with `keep_urls` only.
    """

    name: str
    title: str
    verify: Callable[[Request, Source[A], float], None]
    identify: Callable[[Request], Identity]
    normalise: Callable[[Envelope], tuple[Event, ...]]
    account: type[A] = cast("Any", NoSettings)  # noqa: RUF009  a class, which nothing changes
    types: Mapping[str, str | tuple[str, ...]] = field(default_factory=dict)
    example: Example = Example("main", {})
    samples: Sequence[Sample] = ()
    keep_query: Callable[[str], str] | None = None
    sign: Callable[[bytes, Source[A], float], Outgoing] = no_sign
    covers: str = ""
    leaves_open: str = ""
    strength: Strength = "body"
    content_type: str = "application/json"
    addresses: Sequence[str] = ()
    resends_for_s: float = 0
    reply: Reply = Reply()  # noqa: RUF009  frozen
    challenge: Callable[[Request, Source[A], float], Reply | None] | None = None
    checks_url_by_get: bool = False
    key: Callable[[str], Key] = key_from_text
    min_secret_bytes: int = DEFAULT_MIN_SECRET_BYTES
    signatures: Signatures | None = None
    shown: frozenset[str] = frozenset()
    secret_fields: frozenset[str] = frozenset()
    url_fields: frozenset[str] = frozenset()
    fault: Callable[[Source[A]], str | None] = needs_a_secret


def topics_of(provider: Provider[Any], provider_type: str) -> tuple[str, ...]:
    """The topics that a provider's own type may become; none for a type that it does not declare."""
    topics = provider.types.get(provider_type, ())
    return (topics,) if isinstance(topics, str) else topics


AnySource = Source[Any]
