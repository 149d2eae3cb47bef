"""Proofs that are nearly right: digests in other texts, tokens of every make, times in odd forms."""

import hashlib
import hmac
import json
import re
from base64 import b64encode, urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any, Literal
from urllib.parse import parse_qsl

import pytest

from hookline.schemas.errors import MalformedRequest, Unverified
from hookline.schemas.provider import AnySource, Outgoing, Request
from hookline.schemas.providers import alibaba_live, daily, dingrtc, netease, standard_webhooks, zego, zoom
from tests.ingress.callbacks import sample, signed
from tests.ingress.sources import NOW_S, SOURCES
from tests.vector_cases import Carrier, sent, with_secrets

BY_PROVIDER: Mapping[str, AnySource] = {source.provider.name: source for source in SOURCES.values()}
OF_THE_BODY = {"krtc": "KRTC-Signature", "agora": "Agora-Signature-V2", "trtc": "Sign", "gme": "Signature"}
TOKENS = {"livekit": "sha256", "vonage": "payload_hash"}
NOT_DIGESTS = {*TOKENS, "100ms"}
_DIGEST = re.compile(r"(?:[0-9a-f]{32,128}|[A-Za-z0-9+/]{26,}={0,2})$")


def is_accepted(source: AnySource, request: Request) -> bool:
    """Any error but ours fails the test."""
    with suppress(Unverified, MalformedRequest):
        source.provider.verify(request, source, NOW_S)
        return True
    return False


def digest_carrier(source: AnySource) -> tuple[Carrier, str]:
    """The part of a callback that another secret changes, and its text."""
    outgoing, other = signed(source), signed(with_secrets(source, ["another-secret-of-somebody"]))
    places: Mapping[Literal["header", "query", "body"], tuple[Any, Any]] = {
        "header": (outgoing.headers, other.headers),
        "query": (dict(parse_qsl(outgoing.query)), dict(parse_qsl(other.query))),
    }
    if outgoing.body != other.body:
        places = {"body": (json.loads(outgoing.body), json.loads(other.body))}
    ((place, name),) = [(place, name) for place, (own, its) in places.items() for name in own if own[name] != its[name]]
    return Carrier(place, name), places[place][0][name]


CARRIERS = {
    source.name: (source, *digest_carrier(source))
    for source in SOURCES.values()
    if source.provider.name not in NOT_DIGESTS
}


def other_texts(digest: str) -> Iterator[tuple[str, str]]:
    """Texts that a careless reader takes for the same digest, or for a part of it that will do."""
    is_hex = re.fullmatch("[0-9a-f]+", digest) is not None
    raw = bytes.fromhex(digest) if is_hex else b""
    half = len(digest) // 2
    yield "empty", ""
    yield "a blank", " "
    yield from ((f"{size} characters", digest[:size]) for size in (1, 2, 4, 8, 16, 20, half, len(digest) - 1))
    yield "the second half", digest[half:]
    yield from ((f"{name} behind", digest + end) for name, end in _ENDS.items())
    yield from ((f"{name} before", end + digest) for name, end in _ENDS.items())
    yield from ((f"{name} within", digest[:half] + end + digest[half:]) for name, end in _ENDS.items())
    yield "twice", digest * 2
    yield "in quotes", f'"{digest}"'
    yield "named", f"sha256={digest}"
    yield "all zeros", "0" * len(digest)
    yield "all set", "f" * len(digest)
    yield "one bit of the first character", chr(ord(digest[0]) ^ 1) + digest[1:]
    yield "one bit in the middle", digest[:half] + chr(ord(digest[half]) ^ 1) + digest[half + 1 :]
    yield "wide characters", "".join(chr(ord(each) + 0xFEE0) for each in digest)
    yield "Arabic digits", digest.translate({ord("0") + digit: 0x660 + digit for digit in range(10)}) + "\u0660"
    yield "percent-encoded", "".join(f"%{ord(each):02x}" for each in digest)
    yield "base64 of the text", b64encode(digest.encode()).decode()
    if is_hex:
        yield "the bytes backwards", raw[::-1].hex()
        yield "base64 of the bytes", b64encode(raw).decode()
        yield "pairs with colons", raw.hex(":")
        yield "as a number", str(int(digest, 16))
    else:
        stem, last = digest.rstrip("="), digest.rstrip("=")[-1]
        yield "without padding", stem
        yield "another last bit", stem[:-1] + chr(ord(last) + (-1 if last in "Zz9/" else 1)) + digest[len(stem) :]
        yield "in lower case", digest.lower()
        yield "in two lines", f"{digest[:half]}\r\n{digest[half:]}"


_ENDS = {
    "two zeros": "00",
    "a line end": "\n",
    "a tab": "\t",
    "a blank": " ",
    "a NUL": "\0",
    "a minus": "-",
    "a comma": ",",
    "padding": "=",
    "0x": "0x",
    "a mark": "\ufeff",
    "an invisible hyphen": "\xad",
}


@pytest.mark.parametrize("name", CARRIERS)
def test_a_digest_in_another_text_is_refused(name: str) -> None:
    source, carrier, text = CARRIERS[name]
    usual, digest = sent(signed(source)), _DIGEST.search(text)
    assert digest is not None
    assert is_accepted(source, usual)
    beyond_ascii = "\udcff" if carrier.place == "header" else "\xff"  # aiohttp's form of such a byte
    for what, other in (*other_texts(digest[0]), ("a byte beyond ASCII", digest[0][:-1] + beyond_ascii)):
        request = carrier.replaced(usual, [text[: digest.start()] + other])
        assert not is_accepted(source, request), what


@pytest.mark.parametrize("name", [name for name, (_, _, text) in CARRIERS.items() if re.search("[0-9a-f]{32}$", text)])
def test_hexadecimal_digits_may_be_of_either_case(name: str) -> None:
    source, carrier, text = CARRIERS[name]
    start = text.rfind(re.findall("[0-9a-f]{32,}$", text)[0])
    mixed = "".join(each.upper() if place % 2 else each for place, each in enumerate(text[start:]))
    for other in (text[start:].upper(), mixed):
        assert is_accepted(source, carrier.replaced(sent(signed(source)), [text[:start] + other]))


def other_digests(key: bytes, body: bytes) -> Iterator[tuple[str, bytes]]:
    for name in ("md5", "sha1", "sha224", "sha256", "sha384", "sha512", "sha3_256", "blake2s"):
        yield f"{name} of the body", hashlib.new(name, body, usedforsecurity=False).digest()
        yield f"{name} of key and body", hashlib.new(name, key + body, usedforsecurity=False).digest()
        yield f"{name} of body and key", hashlib.new(name, body + key, usedforsecurity=False).digest()
        yield f"HMAC with {name}", hmac.digest(key, body, name)
        yield f"HMAC with {name}, of nothing", hmac.digest(key, b"", name)
        yield f"HMAC with {name} and no key", hmac.digest(b"", body, name)
        yield f"HMAC with {name}, key and body exchanged", hmac.digest(body, key, name)
        yield f"HMAC with {name} of the body and a line end", hmac.digest(key, body + b"\n", name)
        yield f"HMAC with {name} and a line end behind the key", hmac.digest(key + b"\n", body, name)
        yield f"HMAC with {name}, twice", hmac.digest(key, hmac.digest(key, body, name), name)
    yield "the body", body[:32]
    yield "the key", key


@pytest.mark.parametrize("provider", OF_THE_BODY)
def test_a_digest_of_something_else_is_refused(provider: str) -> None:
    source, header = BY_PROVIDER[provider], OF_THE_BODY[provider]
    outgoing = signed(source)
    for key in source.keys:
        for name, digest in other_digests(key, outgoing.body):
            for text in (digest.hex(), b64encode(digest).decode()):
                is_right = name == ("HMAC with sha1" if provider == "gme" else "HMAC with sha256")
                request = sent(Outgoing(outgoing.body, {**outgoing.headers, header: text}))
                assert is_right or not is_accepted(source, request), name


def encoded(part: Any) -> str:
    raw = part if isinstance(part, bytes) else json.dumps(part).encode()
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def token(source: AnySource, head: Any, claims: Any, *, key: bytes | None = None, hashed: str = "sha256") -> str:
    covered = f"{encoded(head)}.{encoded(claims)}"
    return f"{covered}.{encoded(hmac.digest(source.keys[0] if key is None else key, covered.encode(), hashed))}"


def claims_of(source: AnySource, **others: Any) -> dict[str, Any]:
    """The claims of a genuine token, with others. One of None is left out."""
    text = signed(source).headers["Authorization"].removeprefix("Bearer ").split(".")[1]
    claims = json.loads(urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    return {name: value for name, value in {**claims, **others}.items() if value is not None}


USUAL_HEAD = {"alg": "HS256", "typ": "JWT"}
PUBLIC_KEY = b"-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE\n-----END PUBLIC KEY-----\n"
REFUSED_HEADS: Mapping[str, Any] = {
    **{
        f"alg {alg!r}": {"alg": alg, "typ": "JWT"}
        for alg in (
            *("none", "None", "NONE", "nOnE", "", " ", "HS256 ", " HS256", "hs256", "Hs256", "HS384", "HS512", "RS256"),
            *(
                "PS256",
                "ES256",
                "EdDSA",
                "HS1",
                "SHA256",
                "HS256\0",
                "HS256,none",
                None,
                True,
                256,
                ["HS256"],
                {"a": "HS256"},
            ),
        )
    },
    "no alg": {"typ": "JWT"},
    "alg in capitals": {"ALG": "HS256"},
    "HS256, then none": b'{"alg":"HS256","alg":"none"}',
    "an array": ["HS256"],
    "a text": "HS256",
    "null": None,
    "nothing": b"",
    "no JSON": b"alg=HS256",
    "two objects": b'{"alg":"HS256"}{}',
    "UTF-16": '{"alg":"HS256"}'.encode("utf-16"),
    "deep": b'{"alg":"HS256","x":' + b"[" * 3000 + b"]" * 3000 + b"}",
}


@pytest.mark.parametrize("provider", TOKENS)
@pytest.mark.parametrize("head", REFUSED_HEADS.values(), ids=REFUSED_HEADS)
def test_a_token_of_another_make_is_refused(provider: str, head: Any) -> None:
    source = BY_PROVIDER[provider]
    claims, body = claims_of(source), sample(source)
    made = [token(source, head, claims, hashed=name) for name in ("sha1", "sha256", "sha384", "sha512")]
    unsigned = f"{encoded(head)}.{encoded(claims)}."
    forged = [token(source, head, claims, key=key) for key in (b"", b"none", PUBLIC_KEY, b"null")]
    for each in (*made, unsigned, unsigned[:-1], *forged):
        assert not is_accepted(source, sent(Outgoing(body, {"Authorization": each})))


OTHER_KEYS: Mapping[str, Any] = {
    "a kid of a file": {"kid": "/dev/null"},
    "a kid of a path": {"kid": "../../../../dev/null"},
    "a kid of SQL": {"kid": "x' UNION SELECT 'none"},
    "a kid of a command": {"kid": "| touch x"},
    "a kid that is no text": {"kid": {"a": [1]}},
    "a jku": {"jku": "https://forger.example/keys"},
    "an x5u": {"x5u": "https://forger.example/keys"},
    "a jwk": {"jwk": {"kty": "oct", "k": encoded(b"forger")}},
    "an x5c": {"x5c": ["MIIB"]},
    "a zip": {"zip": "DEF"},
    "a body as it is": {"b64": False},
}


@pytest.mark.parametrize("provider", TOKENS)
@pytest.mark.parametrize("named", OTHER_KEYS.values(), ids=OTHER_KEYS)
def test_a_token_chooses_no_key(provider: str, named: dict[str, Any]) -> None:
    """What it names is not read: the keys of the source count, and no others."""
    source = BY_PROVIDER[provider]
    head, claims = USUAL_HEAD | named, claims_of(source)
    for key in (b"", b"forger", PUBLIC_KEY, b"\0", encoded(b"forger").encode()):
        forged = Outgoing(sample(source), {"Authorization": token(source, head, claims, key=key)})
        assert not is_accepted(source, sent(forged))


def odd_forms(source: AnySource) -> Iterator[tuple[str, str]]:
    good = token(source, USUAL_HEAD, claims_of(source))
    head, claims, signature = good.split(".")
    yield "no parts", head
    yield "two parts", f"{head}.{claims}"
    yield "four parts", f"{good}.{signature}"
    yield "five parts", f"{head}..{claims}.{signature}.{signature}"
    yield "no head", f".{claims}.{signature}"
    yield "no claims", f"{head}..{signature}"
    yield "half a signature", f"{head}.{claims}.{signature[:20]}"
    yield "a signature of zeros", f"{head}.{claims}.{'A' * len(signature)}"
    yield "claims of another", f"{head}.{encoded(claims_of(source, exp=2**40))}.{signature}"
    yield "a padded head", f"{head}=.{claims}.{signature}"
    yield "a padded signature", f"{good}="
    yield "a line end within", f"{head}\n.{claims}.{signature}"
    yield "a blank behind the head", f"{head} .{claims}.{signature}"
    yield "a comma behind", f"{good},{good}"
    yield "JSON", json.dumps({"protected": head, "payload": claims, "signature": signature})
    yield "wide dots", good.replace(".", "\uff0e")
    yield "percent-encoded", good.replace(".", "%2e")
    yield "in quotes", f'"{good}"'
    yield "another scheme", f"Basic {good}"
    yield "a scheme twice", f"Bearer Bearer {good}"
    yield "a byte beyond ASCII", good[:-1] + "\udcff"
    yield "a token within", token(source, USUAL_HEAD | {"cty": "JWT"}, good)
    yield "10,000 dots", "." * 10_000
    for name, part in (("an array", [claims_of(source)]), ("null", None), ("a number", 1), ("nothing", b"")):
        yield f"claims that are {name}", token(source, USUAL_HEAD, part)


@pytest.mark.parametrize("provider", TOKENS)
def test_a_token_in_another_form_is_refused(provider: str) -> None:
    source = BY_PROVIDER[provider]
    for name, text in odd_forms(source):
        assert not is_accepted(source, sent(Outgoing(sample(source), {"Authorization": text}))), name


NO_TIMES = {
    "a text": f"{NOW_S:.0f}",
    "a logic value": True,
    "an array": [NOW_S],
    "an object": {"at": NOW_S},
    "zero": 0,
    "a negative time": -NOW_S,
    "milliseconds": NOW_S * 1000,
    "all of a float": 1.7e308,
    "its negative": -1.7e308,
    "an integer beyond floats": 10**400,
    "its negative one": -(10**400),
    "an integer of 64 bits": 2**64,
}


@pytest.mark.parametrize("provider", TOKENS)
@pytest.mark.parametrize("value", NO_TIMES.values(), ids=NO_TIMES)
def test_a_token_of_no_time_is_refused(provider: str, value: Any) -> None:
    source = BY_PROVIDER[provider]
    made = token(source, USUAL_HEAD, claims_of(source, **{"nbf" if provider == "livekit" else "iat": value}))
    assert not is_accepted(source, sent(Outgoing(sample(source), {"Authorization": made})))


@pytest.mark.parametrize("provider", TOKENS)
@pytest.mark.parametrize("text", ["1e400", "-1e400", "NaN", "Infinity", "-Infinity", "01700000000", "1" * 5000])
def test_a_token_of_a_number_that_is_none_is_refused(provider: str, text: str) -> None:
    source = BY_PROVIDER[provider]
    for name in ("exp", "nbf", "iat", "unknown"):
        claims = json.dumps(claims_of(source, **{name: None}))[:-1] + f', "{name}": {text}}}'
        made = token(source, USUAL_HEAD, claims.encode())
        assert not is_accepted(source, sent(Outgoing(sample(source), {"Authorization": made})))


@pytest.mark.parametrize("provider", TOKENS)
def test_a_token_may_have_a_fraction_of_a_second(provider: str) -> None:
    source = BY_PROVIDER[provider]
    claims = claims_of(source, nbf=NOW_S - 0.25, iat=NOW_S - 0.25, exp=NOW_S + 60.75)
    made = token(source, USUAL_HEAD, claims)
    assert is_accepted(source, sent(Outgoing(sample(source), {"Authorization": made})))


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _zoom(key: bytes, time: str, body: bytes) -> Outgoing:
    digest = hmac.digest(key, b"v0:%b:%b" % (_utf8(time), body), "sha256").hex()
    return Outgoing(body, {"x-zm-signature": f"v0={digest}", "x-zm-request-timestamp": time})


def _daily(key: bytes, time: str, body: bytes) -> Outgoing:
    digest = b64encode(hmac.digest(key, b"%b.%b" % (_utf8(time), body), "sha256")).decode()
    return Outgoing(body, {"X-Webhook-Signature": digest, "X-Webhook-Timestamp": time})


def _dingrtc(key: bytes, time: str, body: bytes) -> Outgoing:
    app_id = BY_PROVIDER["dingrtc"].account.app_id
    return Outgoing(body, {dingrtc.HEADER: f"{app_id}.{time}.{hmac.digest(key, body + _utf8(time), 'sha256').hex()}"})


def _standard(key: bytes, time: str, body: bytes) -> Outgoing:
    digest = b64encode(hmac.digest(key, b"id.%b.%b" % (_utf8(time), body), "sha256")).decode()
    return Outgoing(
        body, {"webhook-id": "id", "webhook-timestamp": time, "webhook-signature": standard_webhooks.VERSION + digest}
    )


def _alibaba(key: bytes, time: str, body: bytes) -> Outgoing:
    digest = hashlib.md5(_utf8(f"{time}|") + key, usedforsecurity=False).hexdigest()
    return Outgoing(body, {alibaba_live.TIME_HEADER: time, alibaba_live.SIGNATURE_HEADER: digest})


def _netease(key: bytes, time: str, body: bytes) -> Outgoing:
    md5 = hashlib.md5(body, usedforsecurity=False).hexdigest()
    digest = hashlib.sha1(key + md5.encode() + _utf8(time), usedforsecurity=False).hexdigest()
    return Outgoing(body, {"CurTime": time, "MD5": md5, "CheckSum": digest})


def _zego(key: bytes, time: str, body: bytes) -> Outgoing:
    parts = sorted([bytes(key), _utf8(time), b"4"])
    digest = hashlib.sha1(b"".join(parts), usedforsecurity=False).hexdigest()
    proof = {"signature": digest, "timestamp": time, "nonce": "4"}
    return Outgoing(json.dumps(json.loads(body) | proof).encode(errors="surrogatepass"))


RECIPES: Mapping[str, tuple[Callable[[bytes, str, bytes], Outgoing], int]] = {
    "zoom": (_zoom, zoom.TIME_DIGITS),
    "daily": (_daily, daily.MILLISECONDS_DIGITS),
    "dingrtc": (_dingrtc, dingrtc.TIME_DIGITS),
    "standard-webhooks": (_standard, standard_webhooks.TIME_DIGITS),
    "alibaba-live": (_alibaba, alibaba_live.TIME_DIGITS),
    "netease": (_netease, netease.TIME_DIGITS),
    "zego": (_zego, zego.TIME_DIGITS),
}


def odd_times(digits: int) -> Iterator[tuple[str, str]]:
    """Texts that Python, or another language, reads as a present time, or as some time at all."""
    now = f"{NOW_S * 10 ** (digits - 10):.0f}"
    yield "a fraction", f"{now}.0"
    yield "an exponent", f"{NOW_S:.1e}"
    yield from ((repr(sign), sign + now) for sign in ("+", "-", "0", "00", "0x", " ", "\t", "\n", "\0", "\ufeff", "-0"))
    yield from ((f"{end!r} behind", now + end) for end in (" ", "\n", "\0", "L", "n", "s", ".", "e0", "_", ",0"))
    yield "underscores", f"{now[0]}_{now[1:4]}_{now[4:]}"
    yield "commas", f"{int(now):,}"
    yield "hexadecimal", f"0x{int(now):x}"
    yield "wide digits", "".join(chr(ord(digit) + 0xFEE0) for digit in now)
    yield "Arabic digits", "".join(chr(ord(digit) + 0x630) for digit in now)
    yield "superscripts", now[:-1] + "\u00b9"
    yield "a byte beyond ASCII", now[:-1] + "\udcb9"
    yield from (
        (text, text) for text in ("NaN", "nan", "inf", "Infinity", "1e400", "-1e400", "now", "null", "0", "9" * 400)
    )
    yield "one digit less", now[:-1]
    yield "one digit more", f"{now}0"
    yield "zeros", "0" * digits
    yield "nines", "9" * digits
    yield "a date", "2023-11-14T22:13:20Z"


@pytest.mark.parametrize("provider", RECIPES)
def test_a_signed_time_in_another_form_is_refused(provider: str) -> None:
    source, (sign, digits) = BY_PROVIDER[provider], RECIPES[provider]
    body = sample(source)
    usual = sign(source.keys[0], f"{NOW_S * 10 ** (digits - 10):.0f}", body)
    assert is_accepted(source, sent(usual))
    for name, time in odd_times(digits):
        assert not is_accepted(source, sent(sign(source.keys[0], time, body))), name
