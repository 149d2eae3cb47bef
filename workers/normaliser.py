"""The canonical events of an envelope, without what a worker may not see."""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from hookline.schemas.envelope import Envelope
from hookline.schemas.errors import Unreadable
from hookline.schemas.event_redaction import Redaction
from hookline.schemas.events import CanonicalEvent
from hookline.schemas.provider import Provider

Normalise: TypeAlias = Callable[[Envelope], tuple[CanonicalEvent, ...]]


def normaliser(providers: Mapping[str, Provider[Any]], *, keep_urls: bool = False) -> Normalise:
    """A function that makes the canonical events of an envelope of one of these providers. It raises Unreadable.

    The events hold no token of the provider, and URLs that let anybody in only with `keep_urls`.
    """
    known: dict[str, Normalise] = {}  # looking a provider up costs an import

    def normalise(envelope: Envelope) -> tuple[CanonicalEvent, ...]:
        of_provider = known.get(envelope.provider)
        if of_provider is None:
            of_provider = known[envelope.provider] = _normaliser(providers, envelope.provider, keep_urls=keep_urls)
        return of_provider(envelope)

    return normalise


def _normaliser(providers: Mapping[str, Provider[Any]], name: str, *, keep_urls: bool) -> Normalise:
    provider = providers.get(name)
    if provider is None:
        raise Unreadable(f"no provider {name!r} is installed here")
    redaction, normalise = Redaction(provider, keep_urls=keep_urls), provider.normalise
    return lambda envelope: redaction(normalise(envelope))
