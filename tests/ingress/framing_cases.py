"""Requests in which it is unclear where the body ends."""

from tests.ingress.callbacks import BODY, LENGTH, changed, with_header
from tests.ingress.chunks import END, WHOLE, chunk, in_chunks
from tests.ingress.refusals import Refusal
from tests.ingress.sources import KRTC

TOO_MUCH = KRTC.max_body_bytes + 1


def _length(value: bytes) -> bytes:
    return changed(LENGTH, b"Content-Length: " + value)


def _flawed_first_chunk(size: bytes) -> bytes:
    return in_chunks(size + b"\r\n", BODY, b"\r\n", END)


HOST = [
    Refusal("no Host", changed(b"Host: ingress.example\r\n", b""), 400),
    Refusal("two Hosts", with_header(b"Host: zebra.example"), 400),
    Refusal("two equal Hosts", with_header(b"Host: ingress.example"), 400),
]

CONTENT_LENGTH = [
    Refusal("two equal lengths", with_header(LENGTH), 400),
    Refusal("two different lengths", with_header(b"Content-Length: 5"), 400),
    *(
        Refusal(f"a length of {value!r}", _length(value), 400)
        for value in (b"-1", b"+2", b"2_0", b"2, 2", b"0x10", b"1 2", b"", b"2.0", b"\xb2", b"zebra")
    ),
    Refusal("a length of 20 digits", _length(b"9" * 20), 400),
    Refusal("a length of 2^64 - 1", _length(b"%d" % (2**64 - 1)), 413, "body_too_large"),
    Refusal("a length of 2^64", _length(b"%d" % 2**64), 400),
    Refusal(
        "a length above the limit, and no body", _length(b"%d" % TOO_MUCH).removesuffix(BODY), 413, "body_too_large"
    ),
    Refusal("a length greater than the body's", _length(b"%d" % (len(BODY) + 1)), 408, "slow_request"),
    Refusal(
        "a length smaller than the body's",
        _length(b"%d" % (len(BODY) - 1)),
        401,
        "bad_signature",
        closes=False,
        why="the rest of the body is another request, which is refused by itself",
    ),
    Refusal(
        "no length",
        changed(LENGTH + b"\r\n", b"").removesuffix(BODY),
        411,
        "length_required",
        why="HTTP has a status for it",
    ),
    Refusal(
        "a body without a length",
        changed(LENGTH + b"\r\n", b""),
        411,
        "length_required",
        why="what follows the head would be another request",
    ),
]

TRANSFER_ENCODING = [
    Refusal("a length, then chunks", with_header(b"Transfer-Encoding: chunked").removesuffix(BODY) + WHOLE + END, 400),
    Refusal("chunks, then a length", in_chunks(WHOLE, END, te=b"Transfer-Encoding: chunked\r\n" + LENGTH), 400),
    *(
        Refusal(f"the header {te!r}", in_chunks(WHOLE, END, te=te), 400)
        for te in (
            b"Transfer-Encoding: xchunked",
            b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
            b"Transfer-Encoding: chunked, identity",
            b"Transfer-Encoding: chunked, chunked",
            b"Transfer-Encoding : chunked",
            b"Transfer-Encoding: \x0bchunked",
            b"Transfer-Encoding: chunked\x00",
            b'Transfer-Encoding: "chunked"',
            b"Transfer-Encoding: chunked;q=1",
            b"Transfer-Encoding: identity",
            b"Transfer-Encoding:",
        )
    ),
    Refusal("gzip and chunks", in_chunks(WHOLE, END, te=b"Transfer-Encoding: gzip, chunked"), 400),
    Refusal("gzip as transfer encoding", in_chunks(WHOLE, END, te=b"Transfer-Encoding: gzip"), 400),
    Refusal("chunks in HTTP/1.0", in_chunks(WHOLE, END).replace(b"HTTP/1.1", b"HTTP/1.0"), 400),
]

CHUNKS = [
    *(
        Refusal(f"a chunk size of {size!r}", _flawed_first_chunk(size), 400)
        for size in (b"0x2", b"-2", b"+2", b"1" * 17, b"f" * 17, b"zebra", b"", b" 2", b"2 ", b"2_0")
    ),
    Refusal("a bare LF after a chunk's size", in_chunks(WHOLE.replace(b"\r\n", b"\n", 1), END), 400),
    Refusal("a bare LF after a chunk", in_chunks(WHOLE.removesuffix(b"\r\n"), b"\n", END), 400),
    Refusal("no line end after a chunk", in_chunks(WHOLE.removesuffix(b"\r\n"), END), 400),
    Refusal("a bare LF in the last chunk", in_chunks(WHOLE, b"0\n\n"), 400),
    Refusal("a bare LF in an extension", in_chunks(b"%x;zebra\n=1\r\n" % len(BODY), BODY, b"\r\n", END), 400),
    Refusal("a malformed trailer", in_chunks(WHOLE, b"0\r\nzebra\r\n\r\n"), 400),
    Refusal("a trailer of 9 kB", in_chunks(WHOLE, b"0\r\nX: ", b"z" * 9000, b"\r\n\r\n"), 400),
    Refusal("chunks above the limit", in_chunks(*[chunk(b" " * 65536)] * 5), 413, "body_too_large"),
    Refusal("one chunk above the limit", in_chunks(b"ffffffffffffff\r\n", b" " * TOO_MUCH), 413, "body_too_large"),
    Refusal("chunks without an end", in_chunks(WHOLE), 408, "slow_request"),
]

FRAMING = [*HOST, *CONTENT_LENGTH, *TRANSFER_ENCODING, *CHUNKS]
