"""What becomes of the body of a verified callback."""

from typing import Any

import msgspec

from hookline.events import Event
from hookline.schemas.provider import Provider
from tests.vector_cases import seal_with


def normalised(provider: Provider[Any], body: Any) -> tuple[Event, ...]:
    """Its events."""
    return provider.normalise(seal_with(provider, as_bytes(body)))


def event_id(provider: Provider[Any], body: Any) -> str:
    return seal_with(provider, as_bytes(body)).id


def as_bytes(body: Any) -> bytes:
    """The body itself if it is bytes, else its JSON."""
    return body if isinstance(body, bytes) else msgspec.json.encode(body)
