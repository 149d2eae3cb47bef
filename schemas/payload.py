"""Reading a provider's JSON: field types for what providers really send, and one way to decode.

The types have bounds: an identifier of a megabyte, or an integer that no database stores, is unreadable. Decoders skip
unknown fields. An optional field that cannot be read never costs the event: see `hookline.schemas.lenient`.
"""

import json
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Annotated, Any, Literal, TypeVar, get_args

import msgspec

from hookline.schemas.envelope import EARLIEST_S, UNREADABLE, Envelope, Identity, moment
from hookline.schemas.errors import Unreadable
from hookline.schemas.lenient import decode_leniently, fitted
from hookline.schemas.provider import Request
from hookline.schemas.topics import word

MAX_ID_CHARACTERS = 512

Int = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
Text = Annotated[str, msgspec.Meta(max_length=MAX_ID_CHARACTERS)]
Id = Int | Text
"""An identifier; some providers send the same one as a number here and as a string there."""
Number = Int | Annotated[str, msgspec.Meta(pattern=r"\A[0-9]{1,18}\Z")]
"""A whole number, also in quotes."""
Flag = bool | Literal["true", "false"]
"""A boolean, also in quotes."""

T = TypeVar("T")
U = TypeVar("U")
W = TypeVar("W", bound="Whole | tuple[Whole, ...]")
anything = msgspec.json.Decoder()
"""Reads a body of unknown form."""
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_decode, _encode = anything.decode, msgspec.json.Encoder().encode
_LARGE_BYTES = 8192
_BYTES_PER_STRING = 512  # where strings are shorter, a body is decoded and encoded faster than they are looked at
_BACKSLASH, _QUOTE = b'\\"'  # `in` finds a number ten times faster than a byte string of length one
_AFTER_VALUES = b",]}"


class Whole(msgspec.Struct, frozen=True, omit_defaults=True):
    """A form with all documented fields in their order: what is decoded is mostly encoded to the same bytes again.

    A field that nothing else asks for is of type Any, so that it never costs the event. Each struct in it is such a
    form, too, since other structs are encoded with fields that were not sent. It has no `msgspec.Raw`, whose inside
    would not be decoded.
    """


def tags(union: Any) -> Mapping[type, str]:
    """The tag of each struct of a union. A struct's own is made anew each time that it is asked for."""
    return {form: str(form.__struct_config__.tag) for form in get_args(union)}


def read(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """Decode a body for the first time, with all checks.

    Raises Unreadable if it is not JSON, is not UTF-8 (also in skipped fields), is nested too deep, names a key twice,
    has a NUL in a text, or a required field that is of another type or out of bounds.
    """
    content = read_again(decoder, body)
    _check(body)
    return content


def read_again(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """Decode a body that `read` checks elsewhere: only its form is checked. Raises Unreadable."""
    try:
        return decoder.decode(body)
    except (RecursionError, ValueError):  # msgspec's errors are ValueErrors
        return _read_leniently(decoder, body.removeprefix(BYTE_ORDER_MARK))


def _none_is_known(_: object) -> bool:
    return False


def read_known(
    form: msgspec.json.Decoder[T], kinds: msgspec.json.Decoder[U], body: bytes, is_known: Callable[[U], bool]
) -> T | U:
    """As `read`: in the form of known callbacks, or only the kind of one that `is_known` is false of.

    A body that has exactly the form is decoded once, so its kind may be unknown, too.
    """
    try:
        content = form.decode(body)
    except (RecursionError, ValueError):
        return _read_by_kind(form, kinds, body, is_known)
    _check(body)
    return content


def read_whole(
    form: msgspec.json.Decoder[W],
    kinds: msgspec.json.Decoder[U],
    body: bytes,
    is_known: Callable[[U], bool] = _none_is_known,
) -> W | U:
    """As `read_known`. If the form has all fields of the body, what it was decoded to proves it, too."""
    try:
        content = form.decode(body)
    except (RecursionError, ValueError):
        return _read_by_kind(form, kinds, body, is_known)
    if len(body) >= _LARGE_BYTES or not _is_kept_whole(body, content):
        _check(body)
    elif _BACKSLASH in body:
        _check_text(body)
    return content


def _read_by_kind(
    form: msgspec.json.Decoder[T], kinds: msgspec.json.Decoder[U], body: bytes, is_known: Callable[[U], bool]
) -> T | U:
    kind = read(kinds, body)
    return read_again(form, body) if is_known(kind) else kind


def read_known_again(
    form: msgspec.json.Decoder[T], kinds: msgspec.json.Decoder[U], body: bytes, is_known: Callable[[U], bool]
) -> T | U:
    """As `read_known` of a body that is checked elsewhere."""
    try:
        return form.decode(body)
    except (RecursionError, ValueError):
        kind = read_again(kinds, body)
        return read_again(form, body) if is_known(kind) else kind


def _read_leniently(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    try:
        return decode_leniently(decoder, body)
    except RecursionError:
        raise Unreadable("the body is nested too deep") from None
    except UnicodeDecodeError:
        raise Unreadable("the body is not UTF-8") from None
    except msgspec.ValidationError as error:
        raise Unreadable(f"the body does not have the documented form: {_place(error)}") from None
    except ValueError:  # msgspec.DecodeError is one
        raise Unreadable("the body is not JSON") from None


def recheck(envelope: Envelope, identify: Callable[[Request], Identity]) -> None:
    """Raise Unreadable if the ingress could not read the body, unless this version can.

    Every envelope of another event type has passed `identify`, so a worker does not check it again. A worker has no
    headers, so an `identify` that uses one has to manage without it.
    """
    if envelope.event_type == UNREADABLE:
        identify(Request(envelope.body, query=envelope.query))


def _check(body: bytes) -> None:
    """Raise Unreadable if a body that was decoded is not UTF-8, has a NUL in a text, or names a key twice."""
    if (len(body) >= _LARGE_BYTES and _is_seen_whole(body)) or _is_kept_whole(body):
        if _BACKSLASH in body:
            _check_text(body)
        return
    if not _is_utf_8(body):
        raise Unreadable("the body is not UTF-8")
    _check_text(body)
    _check_keys(body)


def _is_utf_8(body: bytes) -> bool:
    try:
        return body.isascii() or bool(body.decode())
    except UnicodeDecodeError:
        return False


def _check_text(body: bytes) -> None:
    """Raise Unreadable for a NUL character, which JSON can only escape. PostgreSQL stores no text with one."""
    if b"\\u0000" in body and _nul.search(body):
        raise Unreadable("a text holds a NUL character")


# An even number of backslashes before it are escaped backslashes.
_nul = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")


def _check_keys(body: bytes) -> None:
    """Raise Unreadable if an object names a key twice: readers disagree on which one counts."""
    try:
        _key_decoder.decode(body.removeprefix(BYTE_ORDER_MARK).decode())
    except RecursionError:
        raise Unreadable("the body is nested too deep") from None
    except ValueError:
        raise Unreadable("the body is not JSON") from None


def _is_kept_whole(body: bytes, whole: Whole | tuple[Whole, ...] | None = None) -> bool:
    """Whether nothing is lost when a body is decoded and encoded again: then it is in UTF-8 and names no key twice.

    Mostly the bytes are the same again. Otherwise the colons are counted: a key that is named twice loses one, with
    those in its value, and so does a field that `whole` lacks; only an escaped colon could hide that. This takes a
    fifth of the time of `_check_keys`. False proves nothing: some numbers cannot be decoded or encoded, and where
    `whole` makes fewer bytes, a field is most likely lacking, so nothing is counted.
    """
    try:
        kept = _encode(_decode(body) if whole is None else whole)
    except (ValueError, RecursionError, OverflowError):
        return False
    if kept == body:
        return True
    if whole is not None and len(kept) < len(body):
        return False
    return kept.count(b":") == body.count(b":") and not _has_escaped_colon(body)


def _has_escaped_colon(body: bytes) -> bool:
    return _BACKSLASH in body and (b"\\u003a" in body or b"\\u003A" in body)


def _is_seen_whole(body: bytes) -> bool:
    """The same of a large body of few and long strings without escapes, which is not decoded for it."""
    return _BACKSLASH not in body and _names_each_key_once(body) and _is_utf_8(body)


def _names_each_key_once(body: bytes) -> bool:
    """Whether a body without escapes is quickly seen to name no key twice: False with too many strings to look at.

    Where several objects may have a key, what proves it is the body without its texts, which is small.
    """
    keys: list[bytes] = []
    between_texts: list[bytes] = []
    end, since = -1, 0
    for _ in range(len(body) // _BYTES_PER_STRING):
        start = body.find(_QUOTE, end + 1) + 1
        if not start:
            return len(set(keys)) == len(keys) or _is_kept_whole(b"".join((*between_texts, body[since:])))
        end = body.find(_QUOTE, start)
        if body[end + 1 : end + 2] in _AFTER_VALUES:
            between_texts.append(body[since:start])
            since = end
        else:
            keys.append(body[start:end])
    return False


def _check_pairs(pairs: list[tuple[str, Any]]) -> None:
    if len(dict(pairs)) != len(pairs):
        raise Unreadable("the body names a key twice")


# Integers are parsed as floats, since Python's int refuses very long ones. The values are not used.
_key_decoder = json.JSONDecoder(object_pairs_hook=_check_pairs, parse_int=float)


def text(value: Id) -> str:
    """An identifier as text."""
    return str(value)


def optional_text(value: Id | None) -> str | None:
    """An identifier as text, or None where there is none."""
    return None if value is None else str(value)


def required(value: Id | None, name: str) -> str:
    """An identifier as text; raises Unreadable where there is none."""
    if value is None:
        raise Unreadable(f"the body does not have the documented form: {name} is missing")
    return str(value)


def number(value: int | str) -> int:
    """A `Number` as an int, with or without quotes."""
    return int(value)


def whole(value: float | str | None) -> int | None:
    """A duration or a size as a whole number: it may have a fraction, or be in quotes. None for one that cannot be."""
    if value is None:
        return None
    found = number(value) if isinstance(value, str) else value
    return round(found) if 0 <= found < _LARGEST else None


_LARGEST = 2**63


def unix_s(time: float | None) -> float | None:
    """A Unix time in seconds; None for one that no event of these providers has.

    The unit is the only one in which the time lies between 2015 and 2100. So a time in milliseconds where seconds are
    documented is read as what it is, and no possible time in the documented unit is read in another.
    """
    if time is None:
        return None
    for ticks_per_s in (1, 10**3, 10**6, 10**9):
        seconds = time / ticks_per_s
        if EARLIEST_S <= seconds < _LATEST_S:
            return seconds
    return None


_LATEST_S = 4_102_444_800.0  # 2100-01-01


def number_s(time: int | str | None) -> float | None:
    """The same of a `Number`."""
    return None if time is None else unix_s(int(time))


def unix_moment(time: int | str | None) -> datetime | None:
    """The moment of such a time; None if there is none."""
    seconds = number_s(time)
    return None if seconds is None else moment(seconds)


def text_s(time: str | None) -> float | None:
    """A time as RFC 3339 writes it, in Unix seconds; None for one that cannot be read or that no event has.

    Digits after the sixth are cut off. Blanks do not matter, and a time without a zone is in UTC.
    """
    found = _RFC_3339.fullmatch("".join(time.split())) if time else None
    if found is None:
        return None
    day, clock, zone = found.groups()
    try:
        seconds = datetime.fromisoformat(f"{day}T{clock}{zone or 'Z'}".upper()).timestamp()
    except ValueError:
        return None
    return seconds if EARLIEST_S <= seconds < _LATEST_S else None


_RFC_3339 = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt]?([0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?)([Zz]|[+-][0-9]{2}:?[0-9]{2})?"
)


def whole_number(value: Any) -> int | None:
    """A whole number from a callback of unknown form, also in quotes; None for anything else or anything huge."""
    number = fitted(value, Int | None)
    return number if isinstance(number, int) else None


def flag(value: Flag | None) -> bool | None:
    """A `Flag` as a bool, with or without quotes."""
    return value == "true" if isinstance(value, str) else value


def unknown_type(provider_type: str | int) -> str:
    """The event type of a callback of unknown type: `unknown.<their type>`."""
    return f"unknown.{word(str(provider_type))}"


def canonical(value: Any) -> str:
    """Decoded JSON as text, independent of spacing and order of keys. Raises Unreadable."""
    try:
        return msgspec.json.encode(value, order="deterministic").decode()
    except RecursionError:
        raise Unreadable("the body is nested too deep") from None


def _place(error: msgspec.ValidationError) -> str:
    """What was expected and where, without the value that was found."""
    said = str(error)
    return said if said.startswith("Expected") else said.rpartition(" - at ")[2]
