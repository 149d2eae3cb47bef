"""Reads the vectors, whose form tests/vectors/README.md describes, and makes forgeries from them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Literal, TypeAlias
from urllib.parse import parse_qsl, urlencode

import msgspec
from multidict import CIMultiDict

from hookline.schemas.envelope import Envelope, Identity, moment, seal
from hookline.schemas.form import FORM, form_body, form_fields
from hookline.schemas.payload import BYTE_ORDER_MARK
from hookline.schemas.provider import AnySource, Outgoing, Provider, Reply, Request, Source
from hookline.schemas.providers import catalogue

FOLDER = Path(__file__).parent / "vectors"
FOREIGN_SECRET = "another-secret-of-somebody"


class Expected(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    reply: Any
    challenge: bool = False
    event_type: str = ""
    subject: str = ""
    id: str = ""
    events: list[dict[str, Any]] = []


class Case(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    settings: dict[str, Any]
    now: float
    expected: Expected
    same_event_as: str | None = None
    resent: dict[str, Any] = {}


@dataclass(frozen=True)
class Vector:
    provider: Provider[Any]
    name: str

    def __str__(self) -> str:
        return f"{self.provider.name}/{self.name}"

    @cached_property
    def case(self) -> Case:
        return msgspec.json.decode((self._folder / "case.json").read_bytes(), type=Case)

    @cached_property
    def raw(self) -> bytes:
        return (self._folder / "request.http").read_bytes()

    @cached_property
    def request(self) -> Request:
        head, _, body = self.raw.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = CIMultiDict((name, value.strip()) for name, _, value in (line.partition(":") for line in lines))
        return Request(body, headers, first.split(" ")[1].partition("?")[2])

    @cached_property
    def source(self) -> AnySource:
        return source_of(self.provider, self.case.settings)

    @property
    def content(self) -> Any:
        """The decoded body."""
        return content_of(self.request)

    def with_fields(self, fields: Mapping[str, Any]) -> bytes:
        """The body with these fields replaced."""
        if is_form(self.provider):
            return form_body([*{**dict(form_fields(self.request.body)), **fields}.items()])
        return msgspec.json.encode(self.content | fields)

    @property
    def sibling(self) -> "Vector":
        """The vector whose event this is a re-send of."""
        return replace(self, name=self.case.same_event_as or self.name)

    @property
    def _folder(self) -> Path:
        return FOLDER / self.provider.name / self.name

    def verify(
        self, request: Request | None = None, secrets: Sequence[str] | None = None, *, later_s: float = 0
    ) -> None:
        source = self.source if secrets is None else with_secrets(self.source, secrets)
        self.provider.verify(request or self.request, source, self.case.now + later_s)

    def challenge(self, secrets: Sequence[str] | None = None) -> Reply | None:
        source = self.source if secrets is None else with_secrets(self.source, secrets)
        return challenge_of(source, self.request, self.case.now)

    def signed(self, *, secret: str | None = None, later_s: float = 0) -> Outgoing:
        """The body of the vector, signed by its provider with its own secret or another one."""
        source = self.source if secret is None else with_secrets(self.source, [secret])
        body = self.request.body.removeprefix(BYTE_ORDER_MARK)
        return self.provider.sign(body, source, self.case.now + later_s)

    def identify(self, body: bytes) -> Identity:
        """The identity of another body with the same headers and query."""
        return self.provider.identify(msgspec.structs.replace(self.request, body=body))

    def seal(self, body: bytes | None = None) -> Envelope:
        request = self.request if body is None else msgspec.structs.replace(self.request, body=body)
        return seal_request(self.provider, request, self.case.now)


def challenge_of(source: AnySource, request: Request, now_s: float) -> Reply | None:
    """What the provider answers to a check of the URL; None for any other request."""
    challenge = source.provider.challenge
    return None if challenge is None else challenge(request, source, now_s)


def content_of(request: Request) -> Any:
    """The decoded body of a request, which may begin with a byte order mark."""
    return msgspec.json.decode(request.body.removeprefix(BYTE_ORDER_MARK))


def seal_with(provider: Provider[Any], body: bytes, now_s: float = 1_700_000_001) -> Envelope:
    """The envelope that the ingress makes from a verified body; raises Unreadable."""
    return seal_request(provider, Request(body), now_s)


def seal_request(provider: Provider[Any], request: Request, now_s: float = 1_700_000_001) -> Envelope:
    """The envelope that the ingress makes from a verified request; raises Unreadable."""
    return seal(
        provider.identify(request),
        request.body,
        provider=provider.name,
        source=provider.example.source,
        content_type=provider.content_type,
        received_at=moment(now_s),
    )


def source_of(provider: Provider[Any], settings: Mapping[str, Any]) -> AnySource:
    """A source with the settings of a file."""
    own = dict(settings)
    public_url = own.pop("public_url", "")
    return Source(
        name=provider.example.source,
        provider=provider,
        keys=tuple(provider.key(secret) for secret in own.pop("secrets")),
        allow_from=tuple(ip_network(network) for network in own.pop("allow_from", ())),
        account=msgspec.convert(own, provider.account),
        public_url=public_url,
    )


def example_source(provider: Provider[Any], *secrets: str) -> AnySource:
    """A source with the example settings of its provider, and these secrets or an invented one."""
    return source_of(provider, {**provider.example.settings, "secrets": secrets or ("an-example-secret",)})


def with_secrets(source: AnySource, secrets: Sequence[str]) -> AnySource:
    return replace(source, keys=tuple(source.provider.key(secret) for secret in secrets))


def sent(outgoing: Outgoing) -> Request:
    """The request in which a callback arrives."""
    return Request(outgoing.body, CIMultiDict(outgoing.headers), outgoing.query)


def all_vectors() -> list[Vector]:
    return [
        Vector(provider, folder.name)
        for provider in catalogue().values()
        for folder in sorted((FOLDER / provider.name).iterdir())
        if folder.is_dir()
    ]


@dataclass(frozen=True)
class Carrier:
    """One part of a request that carries a part of the signature."""

    place: Literal["header", "query", "body"]
    name: str

    def __str__(self) -> str:
        return f"{self.place} {self.name}"

    def value(self, request: Request) -> str:
        match self.place:
            case "header":
                return request.headers.getall(self.name, ())[0]
            case "query":
                return next(value for name, value in _query(request) if name.lower() == self.name.lower())
            case "body":
                return str(content_of(request)[self.name])

    def replaced(self, request: Request, values: Sequence[Any]) -> Request:
        """The request with these values in that place: none removes it, two repeat it (a body keeps the last)."""
        match self.place:
            case "header":
                headers = CIMultiDict(_headers(request))
                headers.popall(self.name, None)
                headers.extend((self.name, value) for value in values)
                return msgspec.structs.replace(request, headers=headers)
            case "query":
                others = [pair for pair in _query(request) if pair[0].lower() != self.name.lower()]
                return msgspec.structs.replace(
                    request, query=urlencode([*others, *((self.name, value) for value in values)])
                )
            case "body":
                content = content_of(request)
                del content[self.name]
                if values:
                    content[self.name] = values[-1]
                return msgspec.structs.replace(request, body=msgspec.json.encode(content))


def carriers(vector: Vector) -> list[Carrier]:
    """The parts that carry the provider's signature, found by signing the body of the vector."""
    outgoing = vector.signed()
    return [
        *(Carrier("header", name) for name in outgoing.headers),
        *(Carrier("query", name) for name, _ in parse_qsl(outgoing.query)),
        *(Carrier("body", name) for name in sorted(_signed_fields(vector))),
    ]


def _signed_fields(vector: Vector) -> set[str]:
    """The fields of the body that another secret or another time changes."""
    if is_form(vector.provider):
        return set()
    signed = msgspec.json.decode(vector.signed().body)
    others = [vector.signed(secret=FOREIGN_SECRET), vector.signed(later_s=1)] if vector.source.keys else []
    return {
        name for each in others for name, value in msgspec.json.decode(each.body).items() if value != signed.get(name)
    }


def with_a_field_twice(provider: Provider[Any], body: bytes) -> bytes:
    """The body with two more fields of one name."""
    return body + b"&twice=1&twice=1" if is_form(provider) else body.rstrip()[:-1] + b',"twice":1,"twice":1}'


def topic_of(event_type: str) -> str:
    """The topic of the events of an envelope: `unknown` for `unknown.<their type>`."""
    return "unknown" if event_type.startswith("unknown.") else event_type


def is_form(provider: Provider[Any]) -> bool:
    """Whether the provider sends forms, and not JSON."""
    return provider.content_type == FORM


def covers_body(vector: Vector) -> bool:
    """Whether the signature covers every byte of the body."""
    return vector.provider.strength == "body"


def covers_time(vector: Vector) -> bool:
    return vector.signed() != vector.signed(later_s=1)


Pairs: TypeAlias = list[tuple[str, str]]


def _query(request: Request) -> Pairs:
    return parse_qsl(request.query, keep_blank_values=True)


def _headers(request: Request) -> Pairs:
    if not isinstance(request.headers, CIMultiDict):
        raise TypeError("vectors have their headers in a CIMultiDict")
    return list(request.headers.items())
