"""Callbacks of a type that the provider's module does not know. They are genuine, so they are kept whole."""

from collections.abc import Container

from hookline.schemas.envelope import Envelope, Identity
from hookline.schemas.events import Event, Unknown
from hookline.schemas.payload import anything, number_or_zero, read_again, unknown_facts, unknown_type


def all_facts(provider_type: str | int, body: bytes) -> tuple[str, str]:
    """All fields of a body as the facts of its event, for a callback that has no time. Raises Unreadable."""
    return unknown_facts(provider_type, read_again(anything, body))


def identify_unknown(
    provider_type: str | int, body: bytes, *, time: str, ticks_per_s: int = 1, per_attempt: Container[str] = ()
) -> Identity:
    """The identity of a callback whose body is a JSON object. Raises Unreadable.

    All its fields are facts, except those that each attempt to send it renews. `time` names the field with its Unix
    time, counted in ticks.
    """
    content = read_again(anything, body)
    facts = unknown_facts(provider_type, {name: value for name, value in content.items() if name not in per_attempt})
    return Identity(unknown_type(provider_type), facts, "", number_or_zero(content.get(time)) / ticks_per_s)


def normalise_unknown(envelope: Envelope, provider_type: str | int) -> tuple[Event, ...]:
    """The one event of such a callback. Raises Unreadable."""
    return (Unknown(**envelope.head(provider_type), payload=read_again(anything, envelope.body)),)
