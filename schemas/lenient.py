"""Fields of another type than documented: read where their meaning is plain, else left out.

A provider that sends a number today may quote it tomorrow. One such field must not cost the event. Only bodies that do
not have the documented form come here.
"""

import json
import re
from collections.abc import Iterator
from functools import cache
from typing import Any, NoReturn, TypeVar, get_args, get_origin

import msgspec

T = TypeVar("T")

_QUOTED_NUMBER = re.compile(r"([+-]?[0-9]{1,19})(\.[0-9]+)?")
_EXACT_BELOW = 2**53
_anything = msgspec.json.Decoder(float_hook=float)  # a number beyond the range of floats becomes infinite
_encode = msgspec.json.Encoder().encode
_decoder_of = cache(msgspec.json.Decoder)
_fields_of = cache(msgspec.structs.fields)


def decode_leniently(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """Decode JSON into a `msgspec.Struct`, or into one of a union of them.

    A number may be quoted, have a fraction, or stand for a text. An optional field that cannot be read is left out, and
    any other value that may be None becomes None. Raises what the decoder raises if a required field cannot be read.
    """
    try:
        return decoder.decode(body)
    except msgspec.ValidationError:
        return decoder.decode(_encode(fitted(_decoded(body), decoder.type)))


def _decoded(body: bytes) -> Any:
    """JSON of any form. An integer of more digits than Python reads, which are thousands, becomes their text."""
    try:
        return _anything.decode(body)
    except msgspec.ValidationError:
        return _python_decoder.decode(body.decode())


def _integer(digits: str) -> int | str:
    try:
        return int(digits)
    except ValueError:
        return digits


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


_python_decoder = json.JSONDecoder(parse_int=_integer, parse_constant=_no_constant)


def fitted(value: Any, form: Any) -> Any:
    """The value, or what it means, in that form; None where that is allowed, else the value."""
    if isinstance(value, dict):
        value = _with_fitted_fields(value, form)
    elif isinstance(value, list):
        value = _with_fitted_items(value, form)
    for reading in (value, *_readings(value, form)):
        if _fits(reading, form):
            return reading
    return None if _fits(None, form) else value


def _fits(value: Any, form: Any) -> bool:
    try:
        _decoder_of(form).decode(_encode(value))  # `msgspec.convert` prepares the form anew at each call
    except msgspec.ValidationError:
        return False
    return True


def _with_fitted_fields(content: dict[str, Any], form: Any) -> dict[str, Any]:
    struct = _struct_of(content, form)
    if struct is None:
        return _with_fitted_values(content, form)
    read = dict(content)
    for field in _fields_of(struct):
        name = field.encode_name
        if name in content:
            read[name] = fitted(content[name], field.type)
            if not field.required and not _fits(read[name], field.type):
                del read[name]
    return read


def _with_fitted_values(content: dict[str, Any], form: Any) -> dict[str, Any]:
    for member in (form, *get_args(form)):
        if get_origin(member) is dict:
            return {name: fitted(value, get_args(member)[1]) for name, value in content.items()}
    return content


def _struct_of(content: dict[str, Any], form: Any) -> type[msgspec.Struct] | None:
    """The struct that the content is for: the one with its tag, or the only one."""
    for member in (form, *get_args(form)):
        if isinstance(member, type) and issubclass(member, msgspec.Struct):
            config = member.__struct_config__
            if config.tag_field is None or content.get(config.tag_field) == config.tag:
                return member
    return None


def _with_fitted_items(items: list[Any], form: Any) -> list[Any]:
    for member in (form, *get_args(form)):
        if get_origin(member) is tuple:
            return [fitted(item, get_args(member)[0]) for item in items]
    return items


def _readings(value: Any, form: Any) -> Iterator[Any]:
    """What a scalar may mean. A fraction is dropped from what can only be a number, and never from an identifier."""
    match value:
        case bool():
            return
        case int():
            yield str(value)
        case float() if abs(value) < _EXACT_BELOW and (value.is_integer() or not _fits("", form)):
            yield int(value)
            yield str(int(value))
        case str() if number := _QUOTED_NUMBER.fullmatch(value):
            yield int(number[1])
