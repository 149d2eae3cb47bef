"""Bodies that are forms: `application/x-www-form-urlencoded`."""

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import TypeVar
from urllib.parse import quote_plus, unquote_to_bytes

import msgspec

from hookline.schemas.errors import Unreadable
from hookline.schemas.lenient import fitted

T = TypeVar("T")

FORM = "application/x-www-form-urlencoded"
MAX_FIELDS = 256
_PERCENT, _PLUS = b"%+"  # `in` finds a number faster than a byte string of length one


def form_fields(body: bytes) -> Sequence[tuple[str, str]]:
    """Names and values in the order of the body; blank values count. Raises Unreadable."""
    parts = [part for part in body.split(b"&") if part]
    if len(parts) > MAX_FIELDS:
        raise Unreadable("the form has too many fields")
    try:
        return [(_text(name), _text(value)) for part in parts for name, _, value in [part.partition(b"=")]]
    except UnicodeDecodeError:
        raise Unreadable("the form is not UTF-8") from None


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


def _text(encoded: bytes) -> str:
    if _PERCENT in encoded or _PLUS in encoded:  # most have neither
        return unquote_to_bytes(encoded.replace(b"+", b" ")).decode()
    return encoded.decode()
