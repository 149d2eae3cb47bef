"""JSON Web Tokens with HS256 (RFC 7515, RFC 7519), as some providers sign their callbacks."""

import hmac
from binascii import Error, a2b_base64, b2a_base64
from collections.abc import Collection
from functools import lru_cache
from typing import Any

import msgspec

from hookline.schemas.errors import BadSignature
from hookline.schemas.provider import Key
from hookline.schemas.signing import check_digest

_MAX_CHARACTERS = 8192
# The alphabet of base64url as that of base64. What base64url does not have becomes what no decoder accepts.
_AS_BASE64 = bytes.maketrans(b"-_+/=", b"+/!!!")
_claims = msgspec.json.Decoder(dict[str, Any])


class _Header(msgspec.Struct, frozen=True):
    alg: str


_header = msgspec.json.Decoder(_Header)


def check_jwt(token: str, keys: Collection[bytes]) -> dict[str, Any]:
    """The claims of a token that one of the keys has signed with HS256. Raises BadSignature.

    No claim is checked, and no time: what the claims must say differs between providers.
    """
    parts = token.encode("utf-8", "replace").split(b".")
    if len(token) > _MAX_CHARACTERS or len(parts) != 3:
        raise BadSignature("the token does not have three parts")
    head, claims, signature = parts
    decoded, given = _decoded(claims), _decoded(signature)
    _check_head(head)
    signed = head + b"." + claims
    check_digest(given, [_hmac(key, signed) for key in keys], "the signature of the token")
    found: dict[str, Any] = _read(_claims, decoded)
    return found


@lru_cache(maxsize=256)  # all tokens of a sender begin alike; what raises is not remembered
def _check_head(part: bytes) -> None:
    """Return if this part says that the token is signed with HS256. Raises BadSignature."""
    if _read(_header, _decoded(part)).alg != "HS256":
        raise BadSignature("the token is not signed with HS256")


def _hmac(key: bytes, content: bytes) -> bytes:
    return key.hmac(content, "sha256") if isinstance(key, Key) else hmac.digest(key, content, "sha256")


def claim(claims: dict[str, Any], name: str) -> str:
    """A claim that has to be text. Raises BadSignature."""
    value = claims.get(name)
    if not isinstance(value, str):
        raise BadSignature(f"the token has no text {name}")
    return value


def time_claim(claims: dict[str, Any], name: str) -> float:
    """A claim that has to be a time in Unix seconds. Raises BadSignature."""
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadSignature(f"the token has no time {name}")
    try:
        return float(value)
    except OverflowError:  # JSON has integers of any size
        raise BadSignature(f"the {name} of the token is no time") from None


def _decoded(part: bytes) -> bytes:
    """The bytes of a part in base64url without padding, in its one exact form."""
    padded = part.translate(_AS_BASE64) + b"=" * (-len(part) % 4)
    try:
        decoded = a2b_base64(padded, strict_mode=True)
    except (Error, ValueError):
        raise BadSignature("the token is not base64url") from None
    if b2a_base64(decoded, newline=False) != padded:  # a decoder ignores the last bits before the padding
        raise BadSignature("the token is not base64url")
    return decoded


def _read(decoder: msgspec.json.Decoder[Any], part: bytes) -> Any:
    try:
        return decoder.decode(part)
    except (RecursionError, ValueError):
        raise BadSignature("the token is not made of JSON objects") from None
