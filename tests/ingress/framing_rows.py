"""Bodies whose end is not what it seems."""

from tests.ingress.house import KRTC
from tests.ingress.rows import BODY, END, LENGTH, WHOLE, Row, changed, chunk, in_chunks, with_header

TOO_MUCH = KRTC.max_body_bytes + 1


def _flawed_first_chunk(size: bytes) -> bytes:
    return in_chunks(size + b"\r\n", BODY, b"\r\n", END)


FRAMING = [
    Row("1: no Host", changed(b"Host: ingress.example\r\n", b""), 400),
    Row("2: two Hosts", with_header(b"Host: zebra.example"), 400),
    Row("2: two equal Hosts", with_header(b"Host: ingress.example"), 400),
    Row("3: two equal lengths", with_header(LENGTH), 400),
    Row("4: two lengths", with_header(b"Content-Length: 5"), 400),
    *(
        Row(f"5: a length of {value!r}", changed(LENGTH, b"Content-Length: " + value), 400)
        for value in (b"-1", b"+2", b"2_0", b"2, 2", b"0x10", b"1 2", b"", b"2.0", b"\xb2", b"zebra")
    ),
    Row("6: a length of 20 digits", changed(LENGTH, b"Content-Length: " + b"9" * 20), 400),
    Row("6: a length of 2^64 - 1", changed(LENGTH, b"Content-Length: %d" % (2**64 - 1)), 413, "body_too_large"),
    Row("6: a length of 2^64", changed(LENGTH, b"Content-Length: %d" % 2**64), 400),
    Row(
        "7: a length above the limit, and no body",
        changed(LENGTH, b"Content-Length: %d" % TOO_MUCH).removesuffix(BODY),
        413,
        "body_too_large",
    ),
    Row(
        "8: a length above the body's",
        changed(LENGTH, b"Content-Length: %d" % (len(BODY) + 1)),
        408,
        "slow_request",
    ),
    Row("10: a length below the body's", changed(LENGTH, b"Content-Length: %d" % (len(BODY) - 1)), 400),
    Row(
        "11: no length",
        changed(LENGTH + b"\r\n", b"").removesuffix(BODY),
        411,
        "length_required",
        why="HTTP has a status for it",
    ),
    Row("11: a body without length", changed(LENGTH + b"\r\n", b""), 400, why="the body looks like another request"),
    Row("12: length and chunks", with_header(b"Transfer-Encoding: chunked").removesuffix(BODY) + WHOLE + END, 400),
    Row("12: chunks and length", in_chunks(WHOLE, END, te=b"Transfer-Encoding: chunked\r\n" + LENGTH), 400),
    *(
        Row(f"13: {te!r}", in_chunks(WHOLE, END, te=te), 400)
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
    Row("14: gzip and chunks", in_chunks(WHOLE, END, te=b"Transfer-Encoding: gzip, chunked"), 400),
    Row("14: gzip", in_chunks(WHOLE, END, te=b"Transfer-Encoding: gzip"), 400),
    Row("15: chunks in HTTP/1.0", in_chunks(WHOLE, END).replace(b"HTTP/1.1", b"HTTP/1.0"), 400),
    *(
        Row(f"16: a chunk size of {size!r}", _flawed_first_chunk(size), 400)
        for size in (b"0x2", b"-2", b"+2", b"1" * 17, b"f" * 17, b"zebra", b"", b" 2", b"2 ", b"2_0")
    ),
    Row("17: bare LF after a chunk's size", in_chunks(WHOLE.replace(b"\r\n", b"\n", 1), END), 400),
    Row("17: bare LF after a chunk", in_chunks(WHOLE.removesuffix(b"\r\n"), b"\n", END), 400),
    Row("17: nothing after a chunk", in_chunks(WHOLE.removesuffix(b"\r\n"), END), 400),
    Row("17: bare LF in the end", in_chunks(WHOLE, b"0\n\n"), 400),
    Row("17: bare LF in an extension", in_chunks(b"%x;zebra\n=1\r\n" % len(BODY), BODY, b"\r\n", END), 400),
    Row("19: a malformed trailer", in_chunks(WHOLE, b"0\r\nzebra\r\n\r\n"), 400),
    Row("19: a trailer of 9 kB", in_chunks(WHOLE, b"0\r\nX: ", b"z" * 9000, b"\r\n\r\n"), 431),
    Row("20: chunks above the limit", in_chunks(*[chunk(b" " * 65536)] * 5), 413, "body_too_large"),
    Row("20: one chunk above the limit", in_chunks(b"ffffffffffffff\r\n", b" " * TOO_MUCH), 413, "body_too_large"),
    Row("22: chunks that never end", in_chunks(WHOLE), 408, "slow_request"),
]
