"""The form of the tables: genuine callbacks with one flaw each, which the ingress must refuse.

Rows with one number are variants of one flaw.
"""

from dataclasses import dataclass

from tests.ingress.house import KRTC, post, sample

ECHO = "zebra"  # stands in whatever is wrong with a request, and must not come back
GOOD = post(KRTC)
BODY = sample(KRTC)
LENGTH = f"Content-Length: {len(BODY)}".encode()


@dataclass(frozen=True)
class Row:
    name: str
    request: bytes
    status: int
    code: str = "malformed_request"
    closes: bool = True
    why: str = ""  # where another answer would do as well

    def __str__(self) -> str:
        return self.name


def changed(old: bytes, new: bytes) -> bytes:
    """The good callback with one thing replaced, which must be there once."""
    assert GOOD.count(old) == 1
    return GOOD.replace(old, new)


def with_header(*lines: bytes) -> bytes:
    return changed(LENGTH, b"\r\n".join([LENGTH, *lines]))


def with_line(line: bytes) -> bytes:
    return changed(b"POST /hooks/krtc-main HTTP/1.1", line)


def in_chunks(*chunks: bytes, te: bytes = b"Transfer-Encoding: chunked") -> bytes:
    """The good callback with these bytes for its chunks, line ends included."""
    return changed(LENGTH, te).partition(b"\r\n\r\n")[0] + b"\r\n\r\n" + b"".join(chunks)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


END = b"0\r\n\r\n"
WHOLE = chunk(BODY)
