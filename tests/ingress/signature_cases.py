"""Callbacks that are well formed but not genuine."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import msgspec

from hookline.schemas.provider import AnySource, Outgoing
from tests.ingress.callbacks import BODY, changed, post, sample, signed, with_header
from tests.ingress.chunks import WHOLE, in_chunks
from tests.ingress.refusals import Refusal
from tests.ingress.sources import CALLS, CLASSROOM, KRTC, MEETINGS, NOW_S, SECRET, SOURCES, VOICE
from tests.vector_cases import with_secrets


def _proofs(*values: bytes) -> bytes:
    """The good callback with other signatures."""
    return changed(b"KRTC-Signature: " + GOOD_PROOF, b"\r\n".join(b"KRTC-Signature: " + value for value in values))


def _voice(value: str) -> bytes:
    return post(VOICE, leave_out=["Signature"], add=[f"Signature: {value}"], headers={})


GOOD_PROOF = signed(KRTC).headers["KRTC-Signature"].encode()
GOOD_VOICE = signed(VOICE).headers["Signature"]


def _forgeries() -> Iterable[tuple[str, bytes, str]]:
    bad, missing = "bad_signature", "missing_signature"
    yield "the signature in a trailer", _in_trailer(), missing
    yield "bytes beyond ASCII for a signature", _proofs(b"\xff\xfe" * 32), bad
    yield "full-width digits for a signature", _proofs("\N{FULLWIDTH DIGIT ONE}".encode() * 64), bad
    yield "bytes beyond ASCII for base64", _voice("\xff" * 28), bad
    yield "no signature", changed(b"KRTC-Signature: " + GOOD_PROOF + b"\r\n\r\n", b"\r\n"), missing
    yield "an empty signature", _proofs(b""), missing
    yield "a blank signature", _proofs(b" \t "), missing
    yield "the signature twice", _proofs(GOOD_PROOF, GOOD_PROOF), bad
    yield "a good signature and a bad one", _proofs(GOOD_PROOF, b"0" * 64), bad
    yield "a bad signature and a good one", _proofs(b"0" * 64, GOOD_PROOF), bad
    yield "the signature twice, in another case", with_header(b"krtc-signature: " + GOOD_PROOF), bad
    yield "an underscore in the header's name", changed(b"KRTC-Signature", b"KRTC_Signature"), missing
    yield "a signature cut short", _proofs(GOOD_PROOF[:-2]), bad
    yield "a signature of one digit less", _proofs(GOOD_PROOF[:-1]), bad
    yield "a signature that is too long", _proofs(GOOD_PROOF + b"00"), bad
    yield "a signature that is not hexadecimal", _proofs(b"zebra".ljust(64, b"z")), bad
    yield "a signature with the name of its algorithm", _proofs(b"sha256=" + GOOD_PROOF), bad
    yield "a signature in quotes", _proofs(b'"' + GOOD_PROOF + b'"'), bad
    yield "junk after base64", _voice(GOOD_VOICE + "!!"), bad
    yield "junk in base64", _voice(GOOD_VOICE[:4] + "!" + GOOD_VOICE[4:]), bad
    yield "base64 without padding", _voice(GOOD_VOICE.rstrip("=")), bad
    yield "a signature made with an empty secret", _made_with(KRTC, ""), bad
    yield "1,000 signatures", _proofs(b",".join([b"0" * 7] * 1000)), bad
    yield "50 signature headers", _proofs(*[GOOD_PROOF] * 50), bad
    yield "one byte of the body changed", _with_body(BODY.replace(b"demo-1", b"demo-2")), bad
    yield "the body with other spacing", _with_body(BODY.replace(b":", b": ")), bad
    yield "a blank after the body", _with_body(BODY + b" "), bad
    yield "the body of another callback", _with_body(sample(KRTC, 1)), bad
    yield "a digit moved from the time to the key", _moved(), bad
    yield "an unsigned request to deactivate", _unsigned(b'{"eventType":"Deactivated"}'), missing
    yield from _untimely()
    for source in SOURCES.values():
        yield f"{source.name}, signed with another secret", _made_with(source, "zebra-secret"), bad
        for other in SOURCES.values():
            if other is not source:
                yield f"a callback of {source.name} sent to {other.name}", _elsewhere(source, other), missing


def _in_trailer() -> bytes:
    proof = b"KRTC-Signature: " + GOOD_PROOF
    return in_chunks(WHOLE, b"0\r\n" + proof + b"\r\n\r\n").replace(proof + b"\r\n\r\n", b"\r\n", 1)


def _made_with(source: AnySource, secret: str) -> bytes:
    return post(source, signed(with_secrets(source, [secret]), sample(source)))


def _with_body(body: bytes) -> bytes:
    return post(KRTC, replace(signed(KRTC), body=body))


def _unsigned(body: bytes) -> bytes:
    return post(KRTC, Outgoing(body))


def _moved() -> bytes:
    headers = signed(CALLS).headers
    key, time = headers["AppKey"], headers["CurTime"]
    return post(CALLS, headers={**headers, "AppKey": key + time[0], "CurTime": time[1:]})


def _elsewhere(source: AnySource, other: AnySource) -> bytes:
    """A genuine callback of one source, sent to another."""
    return post(other, signed(source))


def _untimely() -> Iterable[tuple[str, bytes, str]]:
    for source in (CALLS, CLASSROOM, MEETINGS):
        for when, late_s in (("ago", -301), ("in the future", 301)):
            yield (
                f"{source.name}, sent {abs(late_s)} s {when}",
                post(source, signed(source, at_s=NOW_S + late_s)),
                "stale_timestamp",
            )
        for text in ("", " ", *_NO_TIMES):
            code = "bad_signature" if text.strip() else "missing_signature"
            yield f"{source.name}, sent at {text[:20]!r}", post(source, _at(source, text)), code
    for value in (None, True, 1.7e9, [1700000000], {"a": 1}, 2**70):
        code = "missing_signature" if value is None else "bad_signature"
        yield f"classroom, sent at the JSON value {value!r}", post(CLASSROOM, _notice_at(value)), code


_NO_TIMES = (
    "-700000000",
    "+700000000",
    "1700000000.0",
    "1.7e9",
    "1_700_000_0",
    "17000000000",
    "170000000000000",
    "0" * 500,
    "\N{FULLWIDTH DIGIT ONE}700000000",
    "zebra",
)


def _at(source: AnySource, time: str) -> Outgoing:
    """A callback with a correct signature over a text that is not a time in the provider's form."""
    key = SECRET.encode()
    match source.provider.name:
        case "netease":
            md5 = hashlib.md5(sample(source), usedforsecurity=False).hexdigest()
            proof = hashlib.sha1(key + md5.encode() + time.encode(), usedforsecurity=False).hexdigest()
            shown = time.encode().decode("latin-1")
            return replace(signed(source), headers={**signed(source).headers, "CurTime": shown, "CheckSum": proof})
        case "roomkit":
            proof = hashlib.sha256(key + time.encode()).hexdigest()
            query = {"SdkAppid": source.account.sdk_app_id, "Sign": proof, "RequestTime": time}
            return replace(signed(source), query=urlencode(query))
        case _:
            return _notice_at(time)


def _notice_at(time: Any) -> Outgoing:
    proof = hashlib.md5(f"{CLASSROOM.account.comp_id}&{SECRET}&{time}".encode(), usedforsecurity=False).hexdigest()
    content = {**msgspec.json.decode(sample(CLASSROOM)), "Time": time, "Signature": proof}
    return Outgoing(json.dumps(content).encode())


FORGERY = _made_with(KRTC, "another-secret")
FORGED = [Refusal(name, request, 401, code, closes=False) for name, request, code in _forgeries()]
