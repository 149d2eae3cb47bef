"""The recipes that providers share: checking digests in their text forms, and the age of a time stamp.

Digests are compared as bytes in constant time: the case of hexadecimal digits does not matter, and timing reveals
nothing about the expected value. Text is decoded strictly: junk that a lenient decoder skips is refused.
"""

import hashlib
from binascii import Error, a2b_base64, a2b_hex, b2a_base64
from collections.abc import Collection
from hmac import compare_digest

from hookline.schemas.errors import BadSignature, StaleTimestamp
from hookline.schemas.provider import Key

_WRONG = "the signature is wrong"
_MAX_SHOWN_S = 10**11


def check_hex(text: str, expected: Collection[bytes], step: str = "the signature") -> None:
    """Return if the text is one of the expected digests in hexadecimal, in either case; else raise BadSignature.

    `step` is what the operator reads of a refusal, where a provider checks more than one digest.
    """
    check_digest(from_hex(text, step), expected, step)


def check_base64(text: str, expected: Collection[bytes], step: str = "the signature") -> None:
    """Return if the text is one of the expected digests in padded base64, else raise BadSignature.

    The text must be exactly what encodes the digest: a decoder ignores the last bits before the padding. `step` is as
    for `check_hex`.
    """
    check_digest(from_base64(text, step), expected, step)


def check_hex_of_body(text: str, digest: bytes, name: str) -> None:
    """Return if the text is the digest of the body in hexadecimal, else raise BadSignature. `name` says which one."""
    _check_body(from_hex(text, f"the {name} of the body"), digest, name)


def check_base64_of_body(text: str, digest: bytes, name: str) -> None:
    """The same for a text in padded base64."""
    _check_body(from_base64(text, f"the {name} of the body"), digest, name)


def check_shared_secret(text: str, keys: Collection[bytes], step: str = "the shared secret") -> None:
    """Return if the text is one of the keys, else raise BadSignature. For providers that send a password."""
    try:
        check_digest(text.encode("utf-8", "surrogateescape"), keys, step)
    except BadSignature:  # which would name sizes of secrets
        raise BadSignature(_WRONG, for_operator=f"{step} is none of this source") from None


def check_digest(given: bytes, expected: Collection[bytes], step: str) -> None:
    """Return if the bytes are one of the expected digests, else raise BadSignature."""
    fits = False
    for digest in expected:  # all of them, always: the time must not tell which one fits
        fits |= compare_digest(given, digest)
    if not fits:
        raise fits_no_secret(step, len(given), {len(digest) for digest in expected})


def check_hmac(given: bytes, keys: Collection[Key], content: bytes, algorithm: str) -> None:
    """Return if the bytes are the HMAC of the content by one of the keys, else raise BadSignature."""
    fits = False
    for key in keys:  # as above
        fits |= compare_digest(given, key.hmac(content, algorithm))
    if not fits:
        raise fits_no_secret(size=len(given), usual_sizes={hashlib.new(algorithm).digest_size for _ in keys})


def fits_no_secret(step: str = "the signature", size: int = 0, usual_sizes: Collection[int] = (0,)) -> BadSignature:
    """The error for a digest that no secret of the source gives. One of an unusual size is of another algorithm."""
    if size in usual_sizes or not usual_sizes:
        return BadSignature(_WRONG, for_operator=f"{step} fits no secret of this source")
    usual = " or ".join(map(str, sorted(usual_sizes)))
    return BadSignature(_WRONG, for_operator=f"{step} has {size} bytes, and {usual} are expected: is it cut?")


def _check_body(given: bytes, digest: bytes, name: str) -> None:
    if not compare_digest(given, digest):
        said = f"the body does not match its {name}: has something changed it on the way?"
        raise BadSignature(_WRONG, for_operator=said)


def from_hex(text: str, step: str = "the signature") -> bytes:
    """The bytes of a text in hexadecimal, in either case. Raises BadSignature; `step` as for `check_hex`."""
    try:
        return a2b_hex(text)
    except ValueError:
        raise BadSignature("the signature is not hexadecimal", for_operator=f"{step} is not hexadecimal") from None


def from_base64(text: str, step: str = "the signature") -> bytes:
    """The bytes of a text in padded base64, in its one exact form. Raises BadSignature; `step` as for `check_hex`."""
    try:
        encoded = text.encode("ascii")
        given = a2b_base64(encoded, strict_mode=True)
    except (Error, ValueError):
        raise BadSignature("the signature is not base64", for_operator=f"{step} is not base64") from None
    if b2a_base64(given, newline=False) != encoded:
        raise BadSignature("the signature is not base64", for_operator=f"{step} is not base64 in its one exact form")
    return given


def decimal(text: str, digits: int) -> int:
    """The number that exactly so many ASCII digits make; BadSignature for any other text.

    Python's `int` also accepts signs, blanks, underscores and digits of other scripts: several texts for one signature.
    """
    if len(text) != digits or not (text.isascii() and text.isdigit()):
        said = f"the time stamp has {len(text)} characters, and {digits} digits are expected"
        raise BadSignature(f"the time stamp is not {digits} digits", for_operator=said)
    return int(text)


def check_fresh(sent_s: float, now_s: float, tolerance_s: int) -> None:
    """Return if a time stamp is neither older than the tolerance nor further in the future; else StaleTimestamp."""
    age_s = now_s - sent_s
    if abs(age_s) > tolerance_s:
        away = f"{_seconds(age_s)} old" if age_s > 0 else f"{_seconds(-age_s)} in the future"
        raise StaleTimestamp(
            f"the time stamp is more than {tolerance_s} s away from now",
            for_operator=f"the time stamp is {away}, and {tolerance_s} s are allowed: is the clock right?",
            age_s=age_s,
        )


def check_not_expired(expires_s: float, now_s: float, leeway_s: float) -> None:
    """Return unless a token expired longer ago than the leeway; else StaleTimestamp."""
    if now_s - expires_s > leeway_s:
        expired = f"the token expired {_seconds(now_s - expires_s)} ago, and {leeway_s:g} s are allowed"
        raise StaleTimestamp("the token has expired", for_operator=f"{expired}: is the clock right?")


def _seconds(seconds: float) -> str:
    return f"{seconds:,.0f} s" if seconds < _MAX_SHOWN_S else f"more than {_MAX_SHOWN_S:,} s"
