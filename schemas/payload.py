"""Reading a provider's JSON: field types that take what providers really send, and one way to decode.

Bounds are part of the types: an identifier of a megabyte, or an integer that no database holds, is unreadable rather
than a surprise later. A decoder for a struct skips unknown fields.
"""

import json
import re
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal, TypeVar

import msgspec

from hookline.schemas.envelope import UNREADABLE, Envelope, Identity
from hookline.schemas.errors import Unreadable
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
anything = msgspec.json.Decoder()
"""Reads a body whose form we do not know."""
_LARGE_BYTES = 8192
_LONG_BYTES = 64
_BACKSLASH = ord("\\")  # a number is found in bytes ten times as quickly as bytes of one


def read(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """Decode a whole body, the first time that it is read for its content.

    Raises Unreadable for whatever is wrong with it: not JSON, not UTF-8 (also in fields that we skip), nested too deep,
    a key named twice, a NUL in a text, a field of another type, or an identifier out of bounds.
    """
    content = read_again(decoder, body)
    _check_encoding(body)
    if _BACKSLASH in body:
        _check_text(body)
        _check_keys(body)
    else:
        strings = _strings(body)
        if not (_are_all_different(strings) or _keeps_every_string(body, len(strings))):
            _check_keys(body)
    return content


def read_again(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """Decode a body that `read` has passed, or must yet pass: its form, and no more. Raises Unreadable."""
    try:
        return decoder.decode(body)
    except RecursionError:
        raise Unreadable("the body is nested too deep") from None
    except UnicodeDecodeError:
        raise Unreadable("the body is not UTF-8") from None
    except msgspec.ValidationError as error:
        raise Unreadable(f"the body does not have the documented form: {_place(error)}") from None
    except ValueError:  # msgspec.DecodeError is one
        raise Unreadable("the body is not JSON") from None


def recheck(envelope: Envelope, identify: Callable[[bytes], Identity]) -> None:
    """Raise Unreadable where the door could not read what is in the envelope, unless this version can.

    Whatever is sealed under a type of event has passed `identify`, so a worker need not check it again.
    """
    if envelope.event_type == UNREADABLE:
        identify(envelope.body)


def _check_encoding(body: bytes) -> None:
    if not body.isascii():
        try:
            body.decode()
        except UnicodeDecodeError:
            raise Unreadable("the body is not UTF-8") from None


def _check_text(body: bytes) -> None:
    """Raise Unreadable for a NUL, which JSON can only escape: nobody means one, and databases choke on it for ever."""
    if b"\\u0000" in body and _nul.search(body):
        raise Unreadable("a text holds a NUL character")


# An even number of backslashes before it are so many halves of escaped backslashes.
_nul = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")


def _check_keys(body: bytes) -> None:
    """Raise Unreadable if an object names a key twice: readers disagree on which one counts.

    Without escapes there are two quick ways to see that none does, and most bodies pass one of them. All others are
    parsed once more here, more slowly.
    """
    try:
        _key_decoder.decode(body.decode())
    except RecursionError:
        raise Unreadable("the body is nested too deep") from None
    except ValueError:
        raise Unreadable("the body is not JSON") from None


def _strings(body: bytes) -> Sequence[bytes | tuple[int, bytes]]:
    """What stands between the quotes of a body without escapes; what is long, by its length and its beginning.

    Those that differ in this differ, and of those that do not, there is another way to see.
    """
    if len(body) < _LARGE_BYTES:  # copied whole in a third of the time
        return body.split(b'"')[1::2]
    strings: list[bytes | tuple[int, bytes]] = []
    end = -1
    while (start := body.find(b'"', end + 1) + 1) and (end := body.find(b'"', start)) >= 0:
        short = body[start : min(end, start + _LONG_BYTES)]
        strings.append(short if len(short) < _LONG_BYTES else (end - start, short))
    return strings


def _are_all_different(strings: Sequence[bytes | tuple[int, bytes]]) -> bool:
    return len(set(strings)) == len(strings)


def _keeps_every_string(body: bytes, strings: int) -> bool:
    """Whether a body without escapes keeps its strings on a journey through dictionaries, which have a key once."""
    try:
        content = anything.decode(body)
        if len(body) < _LARGE_BYTES:  # written in less time than it takes to look at each
            return msgspec.json.encode(content).count(b'"') == 2 * strings
        return _count_strings(content) == strings
    except (ValueError, RecursionError):  # some of what we skip can be decoded, but not by this
        return False


def _count_strings(value: Any) -> int:
    if isinstance(value, str):
        return 1
    if isinstance(value, dict):
        return len(value) + sum(map(_count_strings, value.values()))
    return sum(map(_count_strings, value)) if isinstance(value, list) else 0


def _check_pairs(pairs: list[tuple[str, Any]]) -> None:
    if len(dict(pairs)) != len(pairs):
        raise Unreadable("the body names a key twice")


# Integers become floats here, since Python's int refuses some; their value does not matter.
_key_decoder = json.JSONDecoder(object_pairs_hook=_check_pairs, parse_int=float)


def text(value: Id) -> str:
    """An identifier as text."""
    return value if isinstance(value, str) else str(value)


def optional_text(value: Id | None) -> str | None:
    """An identifier as text, or None where there is none."""
    return None if value is None else text(value)


def required(value: Id | None, name: str) -> str:
    """An identifier as text; raises Unreadable where there is none."""
    if value is None:
        raise Unreadable(f"the body does not have the documented form: {name} is missing")
    return text(value)


def number(value: int | str) -> int:
    """A `Number`, whether or not it came in quotes."""
    return int(value)


def number_or_zero(value: Any) -> int:
    """A whole number from a callback of unknown form, or 0 for anything else or anything huge."""
    try:
        return number(msgspec.convert(value, Number))
    except msgspec.ValidationError:
        return 0


def flag(value: Flag | None) -> bool | None:
    """A boolean, whether or not it came in quotes."""
    return value == "true" if isinstance(value, str) else value


def unknown_type(provider_type: str | int) -> str:
    """The event type under which a callback of a type that we do not know is kept: `unknown.<their type>`."""
    return f"unknown.{word(str(provider_type))}"


def canonical(value: Any) -> str:
    """Decoded JSON as text that is the same however it was spaced and ordered. Raises Unreadable."""
    try:
        return msgspec.json.encode(value, order="deterministic").decode()
    except RecursionError:
        raise Unreadable("the body is nested too deep") from None


def unknown_facts(provider_type: str | int, payload: Any) -> tuple[str, str]:
    """The facts of a callback of unknown type: all that it says, however it is spaced and ordered."""
    return (str(provider_type), canonical(payload))


def _place(error: msgspec.ValidationError) -> str:
    """What was expected and where, without the value that stood there."""
    said = str(error)
    return said if said.startswith("Expected") else said.rpartition(" - at ")[2]
