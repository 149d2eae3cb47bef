"""Callbacks of a type that the provider's module does not know. They are genuine, so they are kept whole."""

from collections.abc import Container
from typing import Any

from hookline.schemas.envelope import Envelope, Identity
from hookline.schemas.events import Event, Unknown
from hookline.schemas.payload import anything, exactly, read_again, unix_s, unknown_facts, unknown_type, whole_number


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


def _facts(provider_type: str | int, content: dict[str, Any], per_attempt: Container[str]) -> tuple[str, str]:
    return unknown_facts(provider_type, {name: value for name, value in content.items() if name not in per_attempt})


def normalise_unknown(envelope: Envelope, provider_type: str | int) -> tuple[Event, ...]:
    """The one event of such a callback. Raises Unreadable."""
    return (Unknown(**envelope.head(provider_type), payload=read_again(anything, envelope.body)),)
