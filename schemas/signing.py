"""The recipes that providers share: checking digests in their text forms, and the age of a time stamp.

Digests are compared as bytes in constant time: the case of hexadecimal digits does not matter, and timing reveals
nothing about the expected value. Text is decoded strictly: junk that a lenient decoder skips is refused.
"""

import hmac
from binascii import Error, a2b_base64, a2b_hex, b2a_base64
from collections.abc import Iterable

from hookline.schemas.errors import BadSignature, StaleTimestamp


def check_hex(text: str, expected: Iterable[bytes], step: str = "the signature") -> None:
    """Return if the text is one of the expected digests in hexadecimal, in either case; else raise BadSignature.

    `step` is what the operator reads of a refusal, where a provider checks more than one digest.
    """
    try:
        given = a2b_hex(text)
    except ValueError:
        raise BadSignature("the signature is not hexadecimal", for_operator=f"{step} is not hexadecimal") from None
    _check_digest(given, expected, step)


def check_base64(text: str, expected: Iterable[bytes], step: str = "the signature") -> None:
    """Return if the text is one of the expected digests in padded base64, else raise BadSignature.

    The text must be exactly what encodes the digest: a decoder ignores the last bits before the padding. `step` is as
    for `check_hex`.
    """
    try:
        given = a2b_base64(text.encode("ascii"), strict_mode=True)
    except (Error, ValueError):
        raise BadSignature("the signature is not base64", for_operator=f"{step} is not base64") from None
    if b2a_base64(given, newline=False) != text.encode("ascii"):
        raise BadSignature("the signature is not base64", for_operator=f"{step} is not base64 in its one exact form")
    _check_digest(given, expected, step)


def check_shared_secret(text: str, keys: Iterable[bytes], step: str = "the shared secret") -> None:
    """Return if the text is one of the keys, else raise BadSignature. For providers that send a password."""
    _check_digest(text.encode("utf-8", "surrogateescape"), keys, step)


def _check_digest(given: bytes, expected: Iterable[bytes], step: str) -> None:
    fits, tried = False, 0
    for digest in expected:  # all of them, always: the time must not tell which one fits
        fits |= hmac.compare_digest(given, digest)
        tried += 1
    if not fits:
        raise BadSignature("the signature is wrong", for_operator=f"{step} is not what any of {tried} secrets gives")


def decimal(text: str, digits: int) -> int:
    """The number that exactly so many ASCII digits make; BadSignature for any other text.

    Python's `int` also accepts signs, blanks, underscores and digits of other scripts: several texts for one signature.
    """
    if len(text) != digits or not (text.isascii() and text.isdigit()):
        raise BadSignature(f"the time stamp is not {digits} digits")
    return int(text)


def check_fresh(sent_s: float, now_s: float, tolerance_s: int) -> None:
    """Return if a time stamp is neither older than the tolerance nor further in the future; else StaleTimestamp."""
    if abs(now_s - sent_s) > tolerance_s:
        away = f"{now_s - sent_s:,.0f} s old" if now_s > sent_s else f"{sent_s - now_s:,.0f} s in the future"
        raise StaleTimestamp(
            f"the time stamp is more than {tolerance_s} s away from now",
            for_operator=f"the time stamp is {away}, and {tolerance_s} s are allowed",
        )
