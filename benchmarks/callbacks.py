"""Callbacks of all providers, signed by the providers' own `sign`. Each is a different event."""

import itertools
import struct
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from hookline.schemas.envelope import Envelope, moment, seal
from hookline.schemas.provider import AnySource, Outgoing, Request

LENGTH = struct.Struct("<I")
"""In a file of requests, the length in bytes precedes each request."""

_PADDING = "padding"  # no provider has a field of that name
_ROOM_BYTES = 128  # for that name, and for a signature in the body


@dataclass(frozen=True, slots=True)
class Prepared:
    """Whole requests in a file, in the order of sending, and the ids of their events."""

    path: Path
    ids: Sequence[str]


class CallbackGenerator:
    """Makes callbacks of the providers' samples. No event is repeated in a run."""

    def __init__(self) -> None:
        self._stories = itertools.count(int(time.time()) * 1000)

    def outgoing(self, sources: Iterable[AnySource], body_bytes: int = 0) -> Iterator[tuple[AnySource, Outgoing]]:
        """An endless sequence of callbacks, of each source in turn, signed now and padded to nearly that size."""
        bodies_of = [(source, self._bodies(source, body_bytes)) for source in sources]
        for source, bodies in itertools.cycle(bodies_of):
            yield source, source.provider.sign(next(bodies), source, time.time())

    def prepare(self, path: Path, sources: Mapping[str, AnySource], count: int, body_bytes: int = 0) -> Prepared:
        """Write `count` requests to a file."""
        ids = []
        with path.open("wb") as file:
            for source, outgoing in itertools.islice(self.outgoing(sources.values(), body_bytes), count):
                request = request_bytes(source, outgoing)
                file.write(LENGTH.pack(len(request)) + request)
                ids.append(envelope_of(source, outgoing).id)
        return Prepared(path, ids)

    def envelopes(self, sources: Mapping[str, AnySource], count: int) -> Iterator[Envelope]:
        """The envelopes that the ingress would publish for `count` callbacks."""
        for source, outgoing in itertools.islice(self.outgoing(sources.values()), count):
            yield envelope_of(source, outgoing)

    def _bodies(self, source: AnySource, body_bytes: int) -> Iterator[bytes]:
        for story in self._stories:
            at_s = time.time()
            for sample in source.provider.samples:
                yield _padded(sample.body(story, at_s), body_bytes)


def _padded(content: dict[str, Any], body_bytes: int) -> bytes:
    body = msgspec.json.encode(content)
    missing = body_bytes - _ROOM_BYTES - len(body)
    return body if missing <= 0 else msgspec.json.encode({**content, _PADDING: "x" * missing})


def envelope_of(source: AnySource, outgoing: Outgoing) -> Envelope:
    """The envelope that the ingress makes from a callback."""
    provider = source.provider
    return seal(
        provider.identify(Request(outgoing.body)),
        outgoing.body,
        provider=provider.name,
        source=source.name,
        content_type="application/json",
        received_at=moment(time.time()),
    )


def request_bytes(source: AnySource, outgoing: Outgoing) -> bytes:
    """The bytes of a callback on a connection that stays open."""
    target = f"/hooks/{source.name}" + (f"?{outgoing.query}" if outgoing.query else "")
    headers = {
        "Host": "hooks.example.com",
        "User-Agent": "callbacks/1.0",
        "Accept": "*/*",
        "Content-Type": "application/json",
        "Content-Length": str(len(outgoing.body)),
        **outgoing.headers,
    }
    head = "\r\n".join([f"POST {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())])
    return head.encode() + b"\r\n\r\n" + outgoing.body


def read_requests(path: Path) -> list[bytes]:
    """The requests of a file."""
    content = path.read_bytes()
    requests, at = [], 0
    while at < len(content):
        (length,) = LENGTH.unpack_from(content, at)
        at += LENGTH.size + length
        requests.append(content[at - length : at])
    return requests
