"""Heads that are not HTTP, that name no source, or that announce a body which the ingress does not accept."""

import gzip
import zlib

from tests.ingress.callbacks import BODY, changed, post, signed, with_header, with_line
from tests.ingress.refusals import Refusal
from tests.ingress.sources import KRTC

HEAD = [
    Refusal("a folded header", with_header(b"X-Folded: a", b" zebra"), 400),
    Refusal("a folded first header", with_line(b"POST /hooks/krtc-main HTTP/1.1\r\n zebra: 1"), 400),
    *(
        Refusal(f"{byte!r} in a header", with_header(b"X-Odd: zebra" + byte + b"zebra: 1"), 400)
        for byte in (b"\x00", b"\r", b"\n", b"\x0b", b"\x7f", b"\x1b")
    ),
    Refusal("a space in a header's name", with_header(b"X zebra: 1"), 400),
    Refusal("a space after a header's name", with_header(b"X-zebra : 1"), 400),
    Refusal("a header without colon", with_header(b"zebra"), 400),
    Refusal("a header without name", with_header(b": zebra"), 400),
    Refusal("a header's name in UTF-8", with_header("zebrä: 1".encode()), 400),
    Refusal("a header above 8 kB", with_header(b"X-Long: " + b"zebra" * 2000), 431),
    Refusal("a header's name above 8 kB", with_header(b"zebra" * 2000 + b": 1"), 431),
    Refusal("140 headers", with_header(*[b"X-%d: zebra" % number for number in range(140)]), 431),
    Refusal("20,000 headers", with_header(*[b"X-%d: zebra" % number for number in range(20_000)]), 431),
    Refusal("a target above 8 kB", with_line(b"POST /hooks/krtc-main?" + b"zebra" * 2000 + b" HTTP/1.1"), 414),
    *(
        Refusal(f"the target {target!r} without a path", with_line(b"POST " + target + b" HTTP/1.1"), 400)
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
        Refusal(f"the target {target!r}", with_line(b"POST " + target + b" HTTP/1.1"), 404, "unknown_source")
        for target in (
            b"//hooks/krtc-main",
            b"/hooks//krtc-main",
            b"/x/../hooks/krtc-main",
            b"/./hooks/krtc-main",
            b"/hooks/x/../krtc-main",
            b"/hooks/%2e%2e/hooks/krtc-main",
            b"/hooks%2fkrtc-main",
            b"/hooks/krtc%2dmain",
            b"/hooks/krtc-main/",
            b"/hooks/krtc-main;zebra",
            b"/hooks/KRTC-main",
            b"/hooks\\krtc-main",
            b"/hooks/krtc-main#zebra",
            b"/hooks/",
            b"/hooks",
            b"/",
            b"/healthz/",
            b"/metrics",
            b"/hooks/krtc-main%00",
            b"/hooks/krtc-main%0d%0azebra:1",
            b"/hooks/krtc-main%zz",
            b"/hooks/krtc-main%",
            b"/hooks/krtc-main%ff",
            b"/hooks/zebra",
        )
    ),
    *(
        Refusal(f"{byte!r} in the target", with_line(b"POST /hooks/krtc-main" + byte + b"zebra HTTP/1.1"), 400)
        for byte in (b"\x00", b"\r", b"\n", b"\t", b" ", b"\x7f")
    ),
    *(
        Refusal(
            f"the method {method}", with_line(f"{method} /hooks/krtc-main HTTP/1.1".encode()), 405, "method_not_allowed"
        )
        for method in ("GET", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "QUERY", "CONNECT")
    ),
    Refusal("the method post", with_line(b"post /hooks/krtc-main HTTP/1.1"), 400),
    Refusal("the method Post", with_line(b"Post /hooks/krtc-main HTTP/1.1"), 400),
    Refusal("an unknown method", with_line(b"ZEBRA /hooks/krtc-main HTTP/1.1"), 400),
    Refusal("HTTP/0.9", b"POST /hooks/krtc-main\r\n\r\n", 400),
    Refusal("HTTP/0.9 with headers", with_line(b"POST /hooks/krtc-main"), 400),
    Refusal("GET in HTTP/0.9", b"GET /healthz\r\n\r\n", 400),
    Refusal(
        "the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00", 400
    ),
    *(
        Refusal(f"the version {version!r}", with_line(b"POST /hooks/krtc-main " + version), 400)
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
    Refusal("a TLS hello", bytes.fromhex("1603010200010001fc0303") + b"zebra" * 100, 400),
    Refusal("random bytes", bytes(range(256)), 400),
    Refusal("a meaningless line", b"zebra\r\n\r\n", 400),
    Refusal("CONNECT to a host", with_line(b"CONNECT zebra.example:443 HTTP/1.1"), 400, why="its target is no path"),
    *(
        Refusal(f"the URL {target!r}", with_line(b"POST " + target + b" HTTP/1.1"), 400, why="its target is no path")
        for target in (
            b"http://ingress.example/hooks/krtc-main",
            b"http://xn--a/hooks/krtc-main",
            b"http://xn--zzzzzzzzzzz.example:8080/hooks/krtc-main?x=1",
            b"zebra://xn--a",
        )
    ),
    Refusal("OPTIONS *", with_line(b"OPTIONS * HTTP/1.1"), 400, why="its target is no path"),
    Refusal("an unknown expectation", with_header(b"Expect: zebra"), 417, "expectation_failed"),
    Refusal(
        "a known expectation and an unknown one",
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
    Refusal(name, request, 415, "unsupported_encoding")
    for name, request in [
        ("a gzip body", _encoded(b"gzip", ZIPPED)),
        ("a deflate body", _encoded(b"deflate", zlib.compress(BODY))),
        ("a gzip bomb", _encoded(b"gzip", gzip.compress(bytes(50_000_000)))),
        ("broken gzip", _encoded(b"gzip", ZIPPED[:20] + b"zebra" + ZIPPED[20:])),
        ("gzip without checksum", _encoded(b"gzip", ZIPPED[:-8])),
        ("gzip applied twice", _encoded(b"gzip, gzip", gzip.compress(ZIPPED))),
        ("gzip in a second header", _encoded(b"identity\r\nContent-Encoding: gzip", ZIPPED)),
        *(
            (f"the content encoding {coding!r}", _encoded(coding))
            for coding in (b"br", b"zstd", b"zebra", b"GZIP", b"x-gzip", b"identity, gzip", b"\xff")
        ),
        ("thousands of empty gzip members", _encoded(b"gzip", gzip.compress(b"") * 5000)),
        *(
            (f"the content type {kind[:60]!r}", changed(b"Content-Type: application/json", b"Content-Type: " + kind))
            for kind in (
                b"application/xml",
                b"multipart/form-data; boundary=zebra",
                b"application/json; charset=utf-16",
                b"application/json; charset=gbk",
                b"text/plain; charset=iso-8859-15",
                b"application/json; charset=utf-8; charset=utf-16",
                b"application/json, application/json",
                b"application/jsonzebra",
                b"\xffapplication/json",
                b"application/json; x=" + b"z" * 300,
            )
        ),
    ]
] + [Refusal("two content types", with_header(b"Content-Type: application/json"), 400)]
