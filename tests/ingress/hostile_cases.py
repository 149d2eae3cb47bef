"""Hostile requests that the tables of refusals do not have: several at once, or genuine in an odd form."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_network

import msgspec

from hookline.schemas.provider import AnySource
from tests.ingress.callbacks import BODY, GOOD, LENGTH, changed, post, sample, signed, with_header, with_line
from tests.ingress.chunks import END, WHOLE, chunk, in_chunks
from tests.ingress.framing_cases import FRAMING
from tests.ingress.head_cases import CODING, HEAD
from tests.ingress.refusals import Refusal
from tests.ingress.signature_cases import FORGED
from tests.ingress.sources import CALLS, KRTC, OLD_SECRET, SOURCES, VOICE
from tests.ingress.test_accepted import HARMLESS
from tests.test_hostile_bytes import HOSTILE_BODIES
from tests.vector_cases import with_secrets

CLOSED = replace(KRTC, name="krtc-closed", allow_from=(ip_network("203.0.113.0/24"),))
"""A source that no request of a test may call, whatever it says about its address."""
ALL_SOURCES: Mapping[str, AnySource] = {**SOURCES, CLOSED.name: CLOSED}


@dataclass(frozen=True)
class Case:
    """What a hostile client sends on one connection.

    `kept` are the bodies that the ingress publishes, in order; `statuses` are those of its answers. With `half_closes`
    the client then closes its side.
    """

    name: str
    request: bytes
    statuses: Sequence[int]
    kept: Sequence[bytes] = ()
    half_closes: bool = False

    def __str__(self) -> str:
        return self.name


REFUSED = {refusal.name: refusal for refusal in [*FRAMING, *HEAD, *CODING, *FORGED]}


def refused(*names: str) -> list[Case]:
    """Cases from the tables of refusals: those of these names, or that begin with one that ends in `…`."""
    return [_refusal(REFUSED[name]) for wanted in names for name in _found(wanted)]


def _found(wanted: str) -> list[str]:
    prefix = wanted.removesuffix("…")
    found = [wanted] if prefix == wanted else [name for name in REFUSED if name.startswith(prefix)]
    assert found, wanted
    return found


def _refusal(refusal: Refusal) -> Case:
    return Case(refusal.name, refusal.request, [refusal.status])


def harmless(*names: str) -> list[Case]:
    """Cases from the table of odd genuine callbacks."""
    return [Case(name, HARMLESS[name], [200], [BODY]) for name in names]


def kept(*names: str) -> list[Case]:
    """Signed callbacks with these hostile bodies: what is wrong with them is for the workers to find."""
    return [
        Case(f"{name}, from {source.name}", post(source, signed(source, body)), [200], [body])
        for name in names
        for body in [HOSTILE_BODIES[name] if name in HOSTILE_BODIES else ODD_BODIES[name]]
        for source in (KRTC, VOICE, CALLS)
    ]


def _with(**fields: object) -> bytes:
    return msgspec.json.encode({**msgspec.json.decode(BODY), **fields})


ODD_BODIES: Mapping[str, bytes] = {
    "numbers in each form": b'{"a":[1.0,1e3,-0,true,123456789012345678901],"roomId":7}',
    "a NUL in an id": _with(roomId="a\0b"),
    "an id of 200 kB": _with(roomId="r" * 200_000),
    "line ends, ANSI codes and bidi marks": _with(roomId="a\r\nb\x1b[31m\u202ec"),
    "no required field": b'{"eventType":101}',
    "an unknown type": _with(eventType=987654),
    "fields that name Python's": _with(__class__="x", __proto__={"a": 1}),
    "times of 1970, 9999 and in another unit": _with(timestamp=1, eventTime=253402300799, ts=1700000000000000),
    "URLs of link-local hosts and files": _with(url="http://169.254.169.254/latest", file="file:///etc/passwd"),
    "texts that a template would expand": _with(a="%s{0.__class__}${jndi:ldap://x}'; DROP TABLE x;--<script>"),
    "a type with wildcards": _with(eventType="a.*.#.b"),
}

BAD_HEADS_THAT_EXPECT = [
    Case(f"100-continue with {name}", with_header(b"Expect: 100-continue").replace(old, new), [status])
    for name, old, new, status in [
        ("a path of nobody", b"/hooks/krtc-main", b"/hooks/zebra", 404),
        ("a length above the limit", LENGTH, b"Content-Length: 99999999", 413),
        ("a coding", LENGTH, LENGTH + b"\r\nContent-Encoding: gzip", 415),
    ]
]

PARTIAL = [
    Case("the last byte is missing, and the client closes its side", GOOD[:-1], [], half_closes=True),
    Case("the last chunk is missing, and the client closes its side", in_chunks(WHOLE), [], half_closes=True),
    Case("the head is cut", GOOD[:60], [], half_closes=True),
]

SMUGGLED = [
    Case(
        "a callback behind an empty forged one",
        changed(LENGTH, b"Content-Length: 0").removesuffix(BODY) + GOOD,
        [401, 200],
        [BODY],
    ),
    Case(
        "a request for the operator's pages behind an empty forged one",
        changed(LENGTH, b"Content-Length: 0").removesuffix(BODY) + with_line(b"GET /metrics HTTP/1.1"),
        [401, 404],
    ),
    Case("a forged request in the body of another", post(KRTC, replace(signed(KRTC), body=GOOD)), [401]),
    Case("a callback behind one with two lengths", with_header(b"Content-Length: 0") + GOOD, [400]),
    Case(
        "a callback in what chunks leave over",
        in_chunks(END, GOOD, te=b"Transfer-Encoding: chunked\r\nContent-Length: %d" % (len(GOOD) + 5)),
        [400],
    ),
]

PIPELINED = [Case("three callbacks in one segment", GOOD * 3, [200] * 3, [BODY] * 3)]

UPGRADES = [
    Case(f"an upgrade to {to}", with_header(b"Connection: Upgrade", b"Upgrade: " + to.encode()), [200], [BODY])
    for to in ("websocket", "h2c")
]

_ONE_BYTE_CHUNKS = (
    post(KRTC, signed(KRTC, b"z" * 60_000))
    .partition(b"\r\n\r\n")[0]
    .replace(b"Content-Length: 60000", b"Transfer-Encoding: chunked")
)
MANY_CHUNKS = Case(
    "60,000 chunks of one byte",
    _ONE_BYTE_CHUNKS + b"\r\n\r\n" + chunk(b"z") * 60_000 + END,
    [200],
    [b"z" * 60_000],
)

OLD_SECRETS = [
    Case(
        f"{source.name} with the secret before this one",
        post(source, signed(with_secrets(source, [OLD_SECRET]))),
        [source.provider.reply.status],
        [signed(with_secrets(source, [OLD_SECRET])).body],
    )
    for source in SOURCES.values()
    if source.keys
]

_SPOOFED = ["X-Forwarded-For: 203.0.113.7", "Forwarded: for=203.0.113.7", "X-Real-IP: 203.0.113.7"]
ADDRESSES = [
    Case(f"{' and '.join(line.partition(':')[0] for line in lines)} of somebody else", post(CLOSED, add=lines), [401])
    for lines in ([], *([line] for line in _SPOOFED), _SPOOFED)
] + [Case("a line of the PROXY protocol", b"PROXY TCP4 203.0.113.7 1.1.1.1 1 1\r\n" + post(CLOSED), [400])]

REPLAYS = [Case("an exact copy", GOOD * 2, [200, 200], [BODY, BODY])]
OTHER_METHODS = [Case("HEAD", with_line(b"HEAD /hooks/krtc-main HTTP/1.1").removesuffix(BODY), [405])]
OTHER_HEADERS = [
    Case("the old body with the headers of another callback", post(KRTC, signed(KRTC, b"{}"), body=sample(KRTC)), [401])
]
