"""Callbacks of a type that the provider's module does not know. They are genuine, so they are kept whole."""

from collections.abc import Container
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec

from hookline.schemas.envelope import Envelope, Identity
from hookline.schemas.events import Event, Unknown
from hookline.schemas.payload import anything, canonical, read_again, unix_s, unknown_type, whole_number


def _exactly(literal: str) -> float | str:
    """A number as a float, or as a text that no other value has if a float would lose digits."""
    number = float(literal)
    try:
        exact = Decimal(literal) == Decimal(repr(number))
    except InvalidOperation:  # an exponent that Decimal cannot hold
        exact = False
    return number if exact else f"\0{literal}"


exactly = msgspec.json.Decoder(float_hook=_exactly)
"""Reads a body of unknown form, and keeps numbers apart that are the same as floats."""


def all_facts(provider_type: str | int, body: bytes, per_attempt: Container[str] = ()) -> tuple[str, str]:
    """All fields of a JSON object as the facts of its event, except those that each attempt to send it renews.

    For a known callback without a time. Raises Unreadable.
    """
    return _facts(provider_type, read_again(exactly, body), per_attempt)


def identify_unknown(provider_type: str | int, body: bytes, *, time: str, per_attempt: Container[str] = ()) -> Identity:
    """The identity of a callback whose body is a JSON object. Raises Unreadable.

    `time` names the field with its Unix time. All fields are facts, except those that each attempt to send it renews.
    """
    content = read_again(exactly, body)
    facts, occurred_s = _facts(provider_type, content, per_attempt), unix_s(whole_number(content.get(time)))
    return Identity(unknown_type(provider_type), facts, "", occurred_s)


def unknown_facts(provider_type: str | int, payload: Any) -> tuple[str, str]:
    """The facts of a callback of unknown type: its whole content, independent of spacing and order of keys."""
    return (str(provider_type), canonical(payload))


def _facts(provider_type: str | int, content: dict[str, Any], per_attempt: Container[str]) -> tuple[str, str]:
    return unknown_facts(provider_type, {name: value for name, value in content.items() if name not in per_attempt})


def normalise_unknown(envelope: Envelope, provider_type: str | int) -> tuple[Event, ...]:
    """The one event of such a callback. Raises Unreadable."""
    return (Unknown(**envelope.head(provider_type), payload=read_again(anything, envelope.body)),)
