"""Callbacks of all providers, signed by the providers' own `sign`, every one another event."""

import itertools
import struct
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from hookline.schemas.envelope import Envelope, moment, seal
from hookline.schemas.provider import AnySource, Outgoing

LENGTH = struct.Struct("<I")
"""What stands before each request in a file of requests: its length in bytes."""

_PADDING = "padding"  # no provider has a field of that name
_ROOM_BYTES = 128  # for that name, and for a signature in the body


@dataclass(frozen=True, slots=True)
class Prepared:
    """Whole requests in a file, in the order in which they are to be sent, and the ids of their events."""

    path: Path
    ids: Sequence[str]


class Storyteller:
    """Tells the samples' stories, each with another number, so that no event is told twice in a run."""

    def __init__(self) -> None:
        self._stories = itertools.count(int(time.time()) * 1000)

    def outgoing(self, sources: Iterable[AnySource], body_bytes: int = 0) -> Iterator[tuple[AnySource, Outgoing]]:
        """Signed callbacks without end, of each source in turn, signed now; padded to nearly that size."""
        told = [(source, self._bodies(source, body_bytes)) for source in sources]
        for source, bodies in itertools.cycle(told):
            yield source, source.provider.sign(next(bodies), source, time.time())

    def prepare(self, path: Path, sources: Mapping[str, AnySource], count: int, body_bytes: int = 0) -> Prepared:
        """Write so many requests to a file."""
        ids = []
        with path.open("wb") as file:
            for source, outgoing in itertools.islice(self.outgoing(sources.values(), body_bytes), count):
                request = request_bytes(source, outgoing)
                file.write(LENGTH.pack(len(request)) + request)
                ids.append(envelope_of(source, outgoing).id)
        return Prepared(path, ids)

    def envelopes(self, sources: Mapping[str, AnySource], count: int) -> Iterator[Envelope]:
        """What the ingress would publish for so many callbacks."""
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
    """The envelope that the ingress makes of a callback."""
    provider = source.provider
    return seal(
        provider.identify(outgoing.body),
        outgoing.body,
        provider=provider.name,
        source=source.name,
        content_type="application/json",
        received_at=moment(time.time()),
    )


def request_bytes(source: AnySource, outgoing: Outgoing) -> bytes:
    """A callback as it goes over the wire, on a connection that stays open."""
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
