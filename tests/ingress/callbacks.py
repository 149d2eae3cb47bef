"""Genuine callbacks as bytes, and ways to change one thing in them."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgspec

from hookline.schemas.provider import AnySource, Outgoing
from tests.ingress.sources import KRTC, NOW_S


def get(path: str, method: str = "GET") -> bytes:
    """The bytes of a request without a body."""
    return f"{method} {path} HTTP/1.1\r\nHost: ingress.example\r\n\r\n".encode()


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
        "Content-Type": source.provider.content_type,
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
