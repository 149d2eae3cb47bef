"""The built-in providers, one module each. A new provider is a module here that declares `PROVIDER`."""

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from hookline.schemas.envelope import Envelope
from hookline.schemas.errors import Unreadable
from hookline.schemas.events import Event
from hookline.schemas.provider import Provider


@cache
def catalogue() -> Mapping[str, Provider[Any]]:
    """The built-in providers by name, in alphabetical order."""
    modules = sorted(module.name for module in pkgutil.iter_modules(__path__))
    providers = [importlib.import_module(f"{__name__}.{name}").PROVIDER for name in modules]
    return {provider.name: provider for provider in providers}


def normaliser(providers: Mapping[str, Provider[Any]]) -> Callable[[Envelope], tuple[Event, ...]]:
    """A function that makes the canonical events of an envelope of one of these providers. It raises Unreadable."""

    def normalise(envelope: Envelope) -> tuple[Event, ...]:
        provider = providers.get(envelope.provider)
        if provider is None:
            raise Unreadable(f"no provider {envelope.provider!r} is installed here")
        return provider.normalise(envelope)

    return normalise
