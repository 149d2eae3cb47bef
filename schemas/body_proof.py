"""Signatures inside a body of JSON: the exact texts of its fields, read by the same parser as the event.

Another parser could have another opinion of a body, for example of a key that appears twice, and so verify one thing
and deliver another. Here the last one counts, as in the structs of the providers, and `read` refuses to make an event
of such a body.
"""

import re
from typing import Any

import msgspec

from hookline.schemas.errors import BadSignature, MalformedRequest, MissingSignature, Unreadable
from hookline.schemas.payload import read_again

_NUMBER = re.compile(rb"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_ABSENT = (b"", b"null")
_text = msgspec.json.Decoder(str)


class BodyProof:
    """The fields of a body that its signature consists of, or covers."""

    def __init__(self, *names: str) -> None:
        """`names` are those of fields at the top of the body."""
        self._names = names
        places = [
            (f"field_{place}", msgspec.Raw, msgspec.field(name=name, default=msgspec.Raw()))
            for place, name in enumerate(names)
        ]
        self._decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(msgspec.defstruct("Fields", places))
        exact = [
            (field, int | str | None, msgspec.field(name=name, default=None))
            for (field, *_), name in zip(places, names, strict=True)
        ]
        self._plain: msgspec.json.Decoder[Any] = msgspec.json.Decoder(msgspec.defstruct("Plain", exact))
        self._last: tuple[bytes, tuple[str | None, ...]] | None = None  # a callback is asked several times in a row

    def read(self, body: bytes) -> tuple[str, ...]:
        """The texts of all fields. A number is the text that stands in the body, so no digit is lost.

        Raises MissingSignature if one is absent or blank, BadSignature if one is neither text nor number, and
        MalformedRequest if the body is not a JSON object.
        """
        found = self.find(body)
        if None not in found and all(map(str.strip, found)):  # type: ignore[arg-type]  # none is None
            return found  # type: ignore[return-value]  # as said
        missing = next(name for name, text in zip(self._names, found, strict=True) if not (text or "").strip())
        raise MissingSignature(f"{missing} is missing")

    def find(self, body: bytes) -> tuple[str | None, ...]:
        """As `read`, with None for a field that is absent or null."""
        last = self._last
        if last is not None and last[0] is body:
            return last[1]
        found = self._find_plain(body) or self._find_exact(body)
        self._last = (body, found)
        return found

    def _find_plain(self, body: bytes) -> tuple[str | None, ...] | None:
        """The texts where all fields are absent, texts, or integers but 0, which have one form only; else None."""
        try:
            values = msgspec.structs.astuple(self._plain.decode(body))
            return None if 0 in values else tuple([None if each is None else str(each) for each in values])
        except (ValueError, RecursionError):
            return None

    def _find_exact(self, body: bytes) -> tuple[str | None, ...]:
        try:
            fields = read_again(self._decoder, body)
        except Unreadable:
            raise MalformedRequest("the body, which carries the signature, is not a JSON object") from None
        return tuple(map(_exact_text, msgspec.structs.astuple(fields)))


def _exact_text(raw: msgspec.Raw) -> str | None:
    literal = bytes(raw).strip()
    if literal.isdigit():
        return literal.decode()
    if literal[:1] == b'"' and (plain := literal[1:-1]).isalnum():  # ASCII, without escapes: as nearly always
        return plain.decode()
    if literal in _ABSENT:
        return None
    if _NUMBER.fullmatch(literal):
        return literal.decode()
    try:
        return _text.decode(literal)
    except ValueError:
        raise BadSignature("a part of the signature is neither text nor a number") from None
