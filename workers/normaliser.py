"""The canonical events of an envelope, without what a worker may not see."""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from hookline.schemas.envelope import Envelope
from hookline.schemas.errors import Unreadable
from hookline.schemas.event_redaction import Redaction
from hookline.schemas.events import CanonicalEvent, Event
from hookline.schemas.provider import Provider

Normalise: TypeAlias = Callable[[Envelope], tuple[CanonicalEvent, ...]]


def normaliser(providers: Mapping[str, Provider[Any]], *, keep_urls: bool = False) -> Normalise:
    """A function that makes the canonical events of an envelope of one of these providers. It raises Unreadable.

    The events hold no token of the provider, and URLs that let anybody in only with `keep_urls`.
    """
    # To look a provider up costs an import.
    known: dict[str, tuple[Callable[[Envelope], tuple[Event, ...]], Redaction]] = {}

    def normalise(envelope: Envelope) -> tuple[CanonicalEvent, ...]:
        found = known.get(envelope.provider)
        if found is None:
            provider = providers.get(envelope.provider)
            if provider is None:
                raise Unreadable(f"no provider {envelope.provider!r} is installed here")
            found = known[envelope.provider] = (provider.normalise, Redaction(provider, keep_urls=keep_urls))
        of_provider, redacted = found
        return redacted(of_provider(envelope))

    return normalise
