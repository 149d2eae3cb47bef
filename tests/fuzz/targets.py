"""What the fuzzer calls, one function of bytes for each target. Anything but our own errors is a finding.

A new provider has a target as soon as it is in the catalogue; its vectors are the first inputs.
"""

import asyncio
import re
import secrets
from base64 import b64decode
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache, partial
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import msgspec
from multidict import CIMultiDict

from hookline.ingress.client_address import read_address
from hookline.ingress.proxy_protocol import read_header
from hookline.schemas.envelope import Envelope, from_headers, moment, seal, to_headers, unreadable
from hookline.schemas.errors import MalformedRequest, Unreadable, Unverified
from hookline.schemas.provider import AnySource, Provider, Request
from hookline.schemas.providers import catalogue
from hookline.schemas.redaction import redacted_body, redacted_headers, redacted_query
from tests.fuzz.memory_ingress import survives
from tests.ingress.callbacks import GOOD, post
from tests.ingress.signature_cases import FORGERY
from tests.ingress.sources import SOURCES
from tests.vector_cases import all_vectors, example_source, is_form

CORPUS = Path(__file__).parent / "corpus"
NOW_S = 1_700_000_000.0
_NOT_IN_A_TARGET = re.compile(r"[\x00-\x20\x7f]")  # the parser refuses these


@cache
def _source(name: str) -> AnySource:
    """A source whose secret nobody knows: whatever it accepts is forged."""
    return example_source(catalogue()[name], secrets.token_hex(32))


def callback(provider: Provider[Any], data: bytes) -> None:
    """A request as text: the query, lines of headers, an empty line, and the body."""
    request = _request(data)
    source = _source(provider.name)
    with suppress(Unverified, MalformedRequest):
        provider.verify(request, source, NOW_S)
        raise AssertionError("a forgery was accepted")
    if provider.challenge is not None:
        with suppress(Unverified, MalformedRequest):
            provider.challenge(request, source, NOW_S)
    query = provider.keep_query(request.query) if provider.keep_query else ""
    _read(provider, msgspec.structs.replace(request, query=query))
    redacted_body(request.body, provider.secret_fields | provider.url_fields, 4096, is_form=is_form(provider))
    redacted_query(request.query, provider.shown)


def _request(data: bytes) -> Request:
    head, _, body = data.partition(b"\n\n")
    query, *lines = head.decode("utf-8", "surrogateescape").split("\n")
    query = _NOT_IN_A_TARGET.sub("", query)
    pairs = (line.partition(":") for line in lines)
    return Request(body, CIMultiDict((name, value.strip()) for name, _, value in pairs if name), query)


def _read(provider: Provider[Any], request: Request) -> None:
    """What the ingress and then a worker do with a verified request."""
    try:
        identity = provider.identify(request)
    except Unreadable:
        identity = unreadable(request.body)
    envelope = seal(
        identity,
        request.body,
        provider=provider.name,
        source="fuzzed",
        content_type="",
        received_at=moment(NOW_S),
        query=request.query,
    )
    _check_message(envelope)
    with suppress(Unreadable):
        events = provider.normalise(envelope)
        assert events
        assert len({event.id for event in events}) == len(events)
        msgspec.json.encode(events)


def _check_message(envelope: Envelope) -> None:
    assert all(0 < len(word) <= 64 for word in envelope.routing_key.split("."))
    assert envelope.routing_key.isascii()
    headers = to_headers(envelope)
    assert b"\0" not in "".join(headers.values()).encode()
    assert from_headers(headers, envelope.content_type, envelope.body).id == envelope.id


def http(data: bytes) -> None:
    """What one connection sends, as segments that `\\x1e` separates."""
    asyncio.run(survives(data.split(b"\x1e")))


def addresses(data: bytes) -> None:
    """Headers that name the client, behind a trusted proxy."""
    text = data.decode("latin-1")
    address = read_address(text)
    assert address is None or read_address(str(address)) == address
    lines = [line for line in text.split("\n") if line.isprintable()]
    request = post(SOURCES["krtc-main"], add=[f"X-Forwarded-For: {line}" for line in lines[:2]])
    trusted = [ip_network("192.0.2.0/24")]
    asyncio.run(survives([request], trusted))


def proxy_header(data: bytes) -> None:
    with suppress(ValueError, IndexError):
        header = read_header(data)
        if header is not None:
            assert 0 < header.size <= len(data)
            assert read_header(data[: header.size]) == header
            assert not header.address or read_address(header.address.partition("%")[0]) is not None


def redaction(data: bytes) -> None:
    """A body with a secret in it, wherever the field is: the text that is kept has no trace of it."""
    canary = "a-secret-canary"
    kept = redacted_body(data.replace(b"SECRET", canary.encode()), {"token"}, 10**6)
    with suppress(ValueError, RecursionError):
        content = msgspec.json.decode(data)
        if isinstance(content, dict) and content.get("token") == "SECRET" and str(content).count("SECRET") == 1:
            assert kept is not None
            assert canary not in kept
    redacted_headers([(data[:9].decode("latin-1"), data[9:].decode("latin-1"))])


TARGETS: Mapping[str, Callable[[bytes], None]] = {
    **{f"callback-{name}": partial(callback, provider) for name, provider in catalogue().items()},
    "http": http,
    "addresses": addresses,
    "proxy-header": proxy_header,
    "redaction": redaction,
}


def seeds(target: str) -> list[bytes]:
    """The first inputs of a target: those that were kept, and genuine ones."""
    return [*kept(target), *_genuine(target)]


def kept(target: str) -> list[bytes]:
    file = CORPUS / f"{target}.txt"
    return [b64decode(line) for line in file.read_text().split()] if file.is_file() else []


def _genuine(target: str) -> list[bytes]:
    match target:
        case "http":
            return [GOOD, FORGERY, GOOD[:80] + b"\x1e" + GOOD[80:], b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" * 2]
        case "addresses":
            return [b"203.0.113.9:51234", b"[2001:db8::7]:4711", b"1.2.3.4, ::ffff:5.6.7.8\nzebra"]
        case "proxy-header":
            return [b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n", b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c" + bytes(12)]
        case "redaction":
            return [b'{"token":"SECRET"}', b'{"a":{"b":["{\\"token\\":\\"SECRET\\"}"]}}']
        case _:
            vectors = (vector for vector in all_vectors() if f"callback-{vector.provider.name}" == target)
            return [_as_text(vector.raw) for vector in vectors]


def _as_text(raw: bytes) -> bytes:
    head, _, body = raw.partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    return b"\n".join([first.split(b" ")[1].partition(b"?")[2], *lines]) + b"\n\n" + body
