"""Heads that are not HTTP, that name no hook, or that announce a body we do not take."""

import gzip
import zlib

from tests.ingress.house import KRTC, post, signed
from tests.ingress.rows import BODY, Row, changed, with_header, with_line

HEAD = [
    Row("23: a folded header", with_header(b"X-Folded: a", b" zebra"), 400),
    Row("23: a folded first header", with_line(b"POST /hooks/krtc-main HTTP/1.1\r\n zebra: 1"), 400),
    *(
        Row(f"24: {byte!r} in a header", with_header(b"X-Odd: zebra" + byte + b"zebra: 1"), 400)
        for byte in (b"\x00", b"\r", b"\n", b"\x0b", b"\x7f", b"\x1b")
    ),
    Row("25: a space in a header's name", with_header(b"X zebra: 1"), 400),
    Row("25: a space after a header's name", with_header(b"X-zebra : 1"), 400),
    Row("25: a header without colon", with_header(b"zebra"), 400),
    Row("25: a header without name", with_header(b": zebra"), 400),
    Row("25: a header's name in UTF-8", with_header("zebrä: 1".encode()), 400),
    Row("27: a header above 8 kB", with_header(b"X-Long: " + b"zebra" * 2000), 431),
    Row("27: a header's name above 8 kB", with_header(b"zebra" * 2000 + b": 1"), 431),
    Row("28: 140 headers", with_header(*[b"X-%d: zebra" % number for number in range(140)]), 431),
    Row("28: 20,000 headers", with_header(*[b"X-%d: zebra" % number for number in range(20_000)]), 431),
    Row("29: a target above 8 kB", with_line(b"POST /hooks/krtc-main?" + b"zebra" * 2000 + b" HTTP/1.1"), 414),
    *(
        Row(f"30: {target!r}", with_line(b"POST " + target + b" HTTP/1.1"), 400)
        for target in (
            b"http://zebra.example/hooks/krtc-main",
            b"http://ingress.example/hooks/krtc-main",
            b"//zebra.example/hooks/krtc-main".removeprefix(b"//"),
            b"http:///hooks/krtc-main",
            b"*",
            b"hooks/krtc-main",
            b"?/hooks/krtc-main",
        )
    ),
    *(
        Row(f"{number}: {target!r}", with_line(b"POST " + target + b" HTTP/1.1"), 404, "unknown_source")
        for number, target in (
            (31, b"//hooks/krtc-main"),
            (31, b"/hooks//krtc-main"),
            (31, b"/x/../hooks/krtc-main"),
            (31, b"/./hooks/krtc-main"),
            (31, b"/hooks/x/../krtc-main"),
            (31, b"/hooks/%2e%2e/hooks/krtc-main"),
            (31, b"/hooks%2fkrtc-main"),
            (31, b"/hooks/krtc%2dmain"),
            (31, b"/hooks/krtc-main/"),
            (31, b"/hooks/krtc-main;zebra"),
            (31, b"/hooks/KRTC-main"),
            (31, b"/hooks\\krtc-main"),
            (31, b"/hooks/krtc-main#zebra"),
            (31, b"/hooks/"),
            (31, b"/hooks"),
            (31, b"/"),
            (31, b"/healthz/"),
            (31, b"/metrics"),
            (32, b"/hooks/krtc-main%00"),
            (32, b"/hooks/krtc-main%0d%0azebra:1"),
            (32, b"/hooks/krtc-main%zz"),
            (32, b"/hooks/krtc-main%"),
            (32, b"/hooks/krtc-main%ff"),
            (77, b"/hooks/zebra"),
        )
    ),
    *(
        Row(f"32: {byte!r} in the target", with_line(b"POST /hooks/krtc-main" + byte + b"zebra HTTP/1.1"), 400)
        for byte in (b"\x00", b"\r", b"\n", b"\t", b" ", b"\x7f")
    ),
    *(
        Row(f"33: {method}", with_line(f"{method} /hooks/krtc-main HTTP/1.1".encode()), 405, "method_not_allowed")
        for method in ("GET", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "QUERY", "CONNECT")
    ),
    Row("34: post", with_line(b"post /hooks/krtc-main HTTP/1.1"), 400),
    Row("34: Post", with_line(b"Post /hooks/krtc-main HTTP/1.1"), 400),
    Row("34: a method that nobody knows", with_line(b"ZEBRA /hooks/krtc-main HTTP/1.1"), 400),
    Row("35: HTTP/0.9", b"POST /hooks/krtc-main\r\n\r\n", 400),
    Row("35: HTTP/0.9 with headers", with_line(b"POST /hooks/krtc-main"), 400),
    Row("35: GET of HTTP/0.9", b"GET /healthz\r\n\r\n", 400),
    Row("36: HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00", 400),
    *(
        Row(f"36: {version!r}", with_line(b"POST /hooks/krtc-main " + version), 400)
        for version in (
            b"HTTP/3.9",
            b"HTTP/2.0",
            b"HTTP/1.2",
            b"HTTP/1.10",
            b"HTTP/01.1",
            b"HTTP/1",
            b"http/1.1",
            b"X/1",
        )
    ),
    Row("37: a TLS hello", bytes.fromhex("1603010200010001fc0303") + b"zebra" * 100, 400),
    Row("37: random bytes", bytes(range(256)), 400),
    Row("37: a line without sense", b"zebra\r\n\r\n", 400),
    Row("38: CONNECT", with_line(b"CONNECT zebra.example:443 HTTP/1.1"), 400, why="no path in it, see 30"),
    Row("38: OPTIONS *", with_line(b"OPTIONS * HTTP/1.1"), 400, why="no path in it, see 30"),
    Row("40: an unknown expectation", with_header(b"Expect: zebra"), 417, "expectation_failed"),
    Row(
        "40: a known expectation and an unknown one",
        with_header(b"Expect: 100-continue", b"Expect: zebra"),
        417,
        "expectation_failed",
    ),
]


def _encoded(encoding: bytes, data: bytes = BODY) -> bytes:
    call = signed(KRTC, data)
    return post(KRTC, call).replace(b"\r\n\r\n", b"\r\nContent-Encoding: " + encoding + b"\r\n\r\n", 1)


ZIPPED = gzip.compress(BODY)

CODING = [
    Row(name, request, 415, "unsupported_encoding")
    for name, request in [
        ("48: gzip", _encoded(b"gzip", ZIPPED)),
        ("48: deflate", _encoded(b"deflate", zlib.compress(BODY))),
        ("49: a gzip bomb", _encoded(b"gzip", gzip.compress(bytes(50_000_000)))),
        ("50: broken gzip", _encoded(b"gzip", ZIPPED[:20] + b"zebra" + ZIPPED[20:])),
        ("51: gzip without checksum", _encoded(b"gzip", ZIPPED[:-8])),
        ("52: twice gzip", _encoded(b"gzip, gzip", gzip.compress(ZIPPED))),
        ("52: gzip in a second header", _encoded(b"identity\r\nContent-Encoding: gzip", ZIPPED)),
        *(
            (f"52: {coding!r}", _encoded(coding))
            for coding in (b"br", b"zstd", b"zebra", b"GZIP", b"x-gzip", b"identity, gzip", b"\xff")
        ),
        ("53: thousands of empty gzip members", _encoded(b"gzip", gzip.compress(b"") * 5000)),
        *(
            (f"54: {kind!r}", changed(b"Content-Type: application/json", b"Content-Type: " + kind))
            for kind in (
                b"application/xml",
                b"text/html",
                b"multipart/form-data; boundary=zebra",
                b"application/json; charset=utf-16",
                b"application/json; charset=gbk",
                b"text/plain; charset=iso-8859-1",
                b"application/json; charset=utf-8; charset=utf-16",
                b"application/json, application/json",
                b"application/jsonzebra",
                b"\xffapplication/json",
                b"application/json; x=" + b"z" * 300,
            )
        ),
    ]
] + [Row("54: two types", with_header(b"Content-Type: application/json"), 400)]
