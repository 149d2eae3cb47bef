"""The recipes that senders share: digests, their text forms, and the age of a time stamp.

Digests are compared as bytes in constant time, so that the case of hexadecimal digits does not matter and nothing about
the expected value leaks through timing. Text is read strictly: junk that a lenient decoder skips is a refusal.
"""

import hmac
from binascii import Error, a2b_base64, a2b_hex, b2a_base64
from collections.abc import Iterable

from hookline.schemas.errors import BadSignature, StaleTimestamp


def from_hex(text: str, size: int) -> bytes:
    """The `size` bytes that the text says in hexadecimal, in either case; BadSignature for anything else."""
    if len(text) != 2 * size:
        raise BadSignature("the signature does not have the length of one")
    try:
        return a2b_hex(text)
    except ValueError:
        raise BadSignature("the signature is not hexadecimal") from None


def from_base64(text: str, size: int) -> bytes:
    """The `size` bytes that the text says in padded base64; BadSignature for anything else.

    The text must be the one that encodes the bytes: a decoder overlooks the last bits before the padding.
    """
    try:
        digest = a2b_base64(text.encode("ascii"), strict_mode=True)
    except (Error, ValueError):
        raise BadSignature("the signature is not base64") from None
    if b2a_base64(digest, newline=False) != text.encode("ascii"):
        raise BadSignature("the signature is not base64")
    if len(digest) != size:
        raise BadSignature("the signature does not have the length of one")
    return digest


def check_digest(given: bytes, expected: Iterable[bytes]) -> None:
    """Return if `given` is one of the expected digests, else raise BadSignature. Looks at all of them, always."""
    fits = False
    for digest in expected:
        fits |= hmac.compare_digest(given, digest)
    if not fits:
        raise BadSignature("the signature does not fit")


def decimal(text: str, digits: int) -> int:
    """A number of exactly so many ASCII digits; BadSignature for anything else.

    Python's `int` would also take signs, blanks, underscores and digits of other scripts, each another text for one
    signature.
    """
    if len(text) != digits or not (text.isascii() and text.isdigit()):
        raise BadSignature(f"the time stamp is not {digits} digits")
    return int(text)


def check_fresh(sent_s: float, now_s: float, tolerance_s: int) -> None:
    """Return if a time stamp is neither older than the tolerance nor further in the future, else StaleTimestamp."""
    if abs(now_s - sent_s) > tolerance_s:
        raise StaleTimestamp(f"the time stamp is more than {tolerance_s} s off")
