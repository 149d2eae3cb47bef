"""Bodies that are forms: `application/x-www-form-urlencoded`."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import chain
from typing import TypeVar
from urllib.parse import quote_plus, unquote_to_bytes

import msgspec

from hookline.schemas.errors import Unreadable
from hookline.schemas.lenient import fitted

T = TypeVar("T")

FORM = "application/x-www-form-urlencoded"
MAX_FIELDS = 256
_REMEMBERED_BYTES = 2048


def form_fields(body: bytes) -> Sequence[tuple[str, str]]:
    """Names and values in the order of the body; blank values count. Raises Unreadable."""
    return [*(_fields(body) if len(body) > _REMEMBERED_BYTES else _remembered_fields(body))]


def _fields(body: bytes) -> tuple[tuple[str, str], ...]:
    parts = [part for part in body.decode("latin-1").split("&") if part]
    if len(parts) > MAX_FIELDS:
        raise Unreadable("the form has too many fields")
    try:
        return tuple([_field(part) for part in parts])
    except UnicodeDecodeError:
        raise Unreadable("the form is not UTF-8") from None


_remembered_fields = lru_cache(maxsize=256)(_fields)  # a callback is verified and read, each with others of its turn


def read_form(kind: type[T], body: bytes) -> T:
    """A form as a struct. Numbers and booleans are read from their texts, as far as the struct asks for them.

    Raises Unreadable if it is no form in UTF-8, names a field twice, has a NUL in a text, or lacks a required field.
    """
    fields = single_fields(form_fields(body))
    try:
        return msgspec.convert(fields, kind, strict=False)
    except msgspec.ValidationError:
        return _read_leniently(kind, fields)


def single_fields(fields: Sequence[tuple[str, str]]) -> Mapping[str, str]:
    """The values by name. Raises Unreadable if one appears twice, or has a NUL in it."""
    values = dict(fields)
    if len(values) != len(fields):
        raise Unreadable("the form names a field twice")
    if "\0" in "".join(chain.from_iterable(fields)):
        raise Unreadable("a text holds a NUL character")
    return values


def form_body(fields: Sequence[tuple[str, str]]) -> bytes:
    """The fields as a body, for `Provider.sign`."""
    return "&".join(f"{quote_plus(name)}={quote_plus(value)}" for name, value in fields).encode()


def _read_leniently(kind: type[T], fields: Mapping[str, str]) -> T:
    """The struct without optional fields that cannot be read."""
    try:
        return msgspec.convert(fitted(dict(fields), kind), kind, strict=False)
    except msgspec.ValidationError as error:
        place = str(error).rpartition(" - at ")[2]
        raise Unreadable(f"the form does not have the documented fields: {place}") from None


def _field(part: str) -> tuple[str, str]:
    """The name and the value of a part, whose characters are the bytes of the body."""
    name, _, value = part.partition("=")
    if "%" in part or "+" in part or not part.isascii():  # most are texts already
        return _text(name), _text(value)
    return name, value


def _text(encoded: str) -> str:
    return unquote_to_bytes(encoded.replace("+", " ").encode("latin-1")).decode()
