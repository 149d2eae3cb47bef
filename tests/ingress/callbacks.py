"""Genuine callbacks as bytes, and ways to change one thing in them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from hookline.schemas.provider import AnySource, Outgoing
from hookline.schemas.providers import catalogue
from tests.vector_cases import example_source

NOW_S = 1_700_000_000.0
SECRET = "the-secret-of-this-source"
OLD_SECRET = "the-one-before-it"
SOURCES: Mapping[str, AnySource] = {
    provider.example.source: example_source(provider, SECRET, OLD_SECRET) for provider in catalogue().values()
}
KRTC, VOICE, CALLS, CLASSROOM, MEETINGS = (
    SOURCES[name] for name in ("krtc-main", "voice", "calls", "classroom", "meetings")
)


def sample(source: AnySource, number: int = 0) -> bytes:
    """The body of one of the provider's sample callbacks."""
    return msgspec.json.encode(source.provider.samples[number].body(1, NOW_S))


def signed(source: AnySource, body: bytes | None = None, *, at_s: float = NOW_S) -> Outgoing:
    return source.provider.sign(sample(source) if body is None else body, source, at_s)


def post(
    source: AnySource,
    outgoing: Outgoing | None = None,
    *,
    add: Sequence[str] = (),
    leave_out: Sequence[str] = (),
    **changed: Any,
) -> bytes:
    """The bytes of a genuine callback, with the changes that the arguments name.

    `add` are further header lines, `leave_out` names headers to remove, `changed` replaces parts of the Outgoing.
    """
    call = replace(signed(source) if outgoing is None else outgoing, **changed)
    target = f"/hooks/{source.name}" + (f"?{call.query}" if call.query else "")
    headers = {
        "Host": "ingress.example",
        "Content-Type": "application/json",
        "Content-Length": str(len(call.body)),
        **call.headers,
    }
    lines = [f"{name}: {value}" for name, value in headers.items() if name not in leave_out]
    head = "\r\n".join([f"POST {target} HTTP/1.1", *lines, *add])
    return head.encode("latin-1") + b"\r\n\r\n" + call.body


GOOD = post(KRTC)
BODY = sample(KRTC)
LENGTH = f"Content-Length: {len(BODY)}".encode()


def changed(old: bytes, new: bytes) -> bytes:
    """The good callback with one thing replaced, which must occur in it once."""
    assert GOOD.count(old) == 1
    return GOOD.replace(old, new)


def with_header(*lines: bytes) -> bytes:
    return changed(LENGTH, b"\r\n".join([LENGTH, *lines]))


def with_line(line: bytes) -> bytes:
    return changed(b"POST /hooks/krtc-main HTTP/1.1", line)


def in_chunks(*chunks: bytes, te: bytes = b"Transfer-Encoding: chunked") -> bytes:
    """The good callback with these bytes as its chunked body, line ends included."""
    return changed(LENGTH, te).partition(b"\r\n\r\n")[0] + b"\r\n\r\n" + b"".join(chunks)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


END = b"0\r\n\r\n"
WHOLE = chunk(BODY)
