"""Callbacks that are well formed and not genuine."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import msgspec

from hookline.schemas.provider import AnySource, Outgoing
from tests.ingress.house import CALLS, CLASSROOM, KRTC, MEETINGS, NOW_S, SECRET, SOURCES, VOICE, post, sample, signed
from tests.ingress.rows import BODY, WHOLE, Row, changed, in_chunks, with_header
from tests.vector_cases import with_secrets


def _proofs(*values: bytes) -> bytes:
    """The good callback with these signatures."""
    return changed(b"KRTC-Signature: " + GOOD_PROOF, b"\r\n".join(b"KRTC-Signature: " + value for value in values))


def _voice(value: str) -> bytes:
    return post(VOICE, leave_out=["Signature"], add=[f"Signature: {value}"], headers={})


GOOD_PROOF = signed(KRTC).headers["KRTC-Signature"].encode()
GOOD_VOICE = signed(VOICE).headers["Signature"]


def _forgeries() -> Iterable[tuple[str, bytes, str]]:
    bad, missing = "bad_signature", "missing_signature"
    yield "19: the signature as a trailer", _in_trailer(), missing
    yield "26: bytes beyond ASCII for a signature", _proofs(b"\xff\xfe" * 32), bad
    yield "26: full-width digits for a signature", _proofs("\N{FULLWIDTH DIGIT ONE}".encode() * 64), bad
    yield "26: bytes beyond ASCII for base64", _voice("\xff" * 28), bad
    yield "55: no signature", changed(b"KRTC-Signature: " + GOOD_PROOF + b"\r\n\r\n", b"\r\n"), missing
    yield "56: an empty signature", _proofs(b""), missing
    yield "56: a blank signature", _proofs(b" \t "), missing
    yield "57: the signature twice", _proofs(GOOD_PROOF, GOOD_PROOF), bad
    yield "57: a good signature and a bad one", _proofs(GOOD_PROOF, b"0" * 64), bad
    yield "57: a bad signature and a good one", _proofs(b"0" * 64, GOOD_PROOF), bad
    yield "57: twice, in other case", with_header(b"krtc-signature: " + GOOD_PROOF), bad
    yield "58: an underscore", changed(b"KRTC-Signature", b"KRTC_Signature"), missing
    yield "59: cut short", _proofs(GOOD_PROOF[:-2]), bad
    yield "59: one digit less", _proofs(GOOD_PROOF[:-1]), bad
    yield "59: too long", _proofs(GOOD_PROOF + b"00"), bad
    yield "59: not hexadecimal", _proofs(b"zebra".ljust(64, b"z")), bad
    yield "59: named", _proofs(b"sha256=" + GOOD_PROOF), bad
    yield "59: in quotes", _proofs(b'"' + GOOD_PROOF + b'"'), bad
    yield "60: junk after base64", _voice(GOOD_VOICE + "!!"), bad
    yield "60: junk in base64", _voice(GOOD_VOICE[:4] + "!" + GOOD_VOICE[4:]), bad
    yield "60: base64 without padding", _voice(GOOD_VOICE.rstrip("=")), bad
    yield "62: made with an empty secret", _made_with(KRTC, ""), bad
    yield "70: 1,000 signatures", _proofs(b",".join([b"0" * 7] * 1000)), bad
    yield "70: 50 signature headers", _proofs(*[GOOD_PROOF] * 50), bad
    yield "71: one byte of the body changed", _with_body(BODY.replace(b"demo-1", b"demo-2")), bad
    yield "71: the body written anew", _with_body(BODY.replace(b":", b": ")), bad
    yield "71: a blank after the body", _with_body(BODY + b" "), bad
    yield "72: the body of another callback", _with_body(sample(KRTC, 1)), bad
    yield "73: a byte moved from time to key", _moved(), bad
    yield "76: an unsigned order to switch off", _unsigned(b'{"eventType":"Deactivated"}'), missing
    yield from _untimely()
    for source in SOURCES.values():
        yield f"64: {source.name} with another secret", _made_with(source, "zebra-secret"), bad
        for other in SOURCES.values():
            if other is not source:
                yield f"64: {source.name} for {other.name}", _elsewhere(source, other), missing


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
        for number, late_s in ((80, -301), (81, 301)):
            yield (
                f"{number}: {source.name} at {late_s} s",
                post(source, signed(source, at_s=NOW_S + late_s)),
                "stale_timestamp",
            )
        for text in ("", " ", *_NO_TIMES):
            code = "bad_signature" if text.strip() or source is CLASSROOM else "missing_signature"
            yield f"75: {source.name} at {text!r}", post(source, _at(source, text)), code
    for value in (None, True, 1.7e9, [1700000000], {"a": 1}, 2**70):
        code = "missing_signature" if value is None else "bad_signature"
        yield f"75: classroom at {value!r}", post(CLASSROOM, _notice_at(value)), code


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
    """A callback signed, with the secret, for a text that is no time in the provider's form."""
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


FORGED = [Row(name, request, 401, code, closes=False) for name, request, code in _forgeries()]
