"""The built-in providers, one module each. A new provider is a module here that declares `PROVIDER`.

A module is named like its provider, with `_` for `-`, and with `_` in front of a digit: `_100ms` is `100ms`.
"""

import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from functools import cache
from types import MappingProxyType
from typing import Any

from hookline.schemas.provider import Provider


class Catalogue(Mapping[str, Provider[Any]]):
    """The built-in providers by name, in alphabetical order, and others after them.

    The module of a built-in provider is loaded when it is asked for.
    """

    def __init__(self, others: Mapping[str, Provider[Any]] = MappingProxyType({})) -> None:
        names = (module.name for module in pkgutil.iter_modules(__path__))
        self._modules = {provider_name(name): name for name in sorted(names, key=provider_name)}
        self._others = others

    def __getitem__(self, name: str) -> Provider[Any]:
        if name in self._others:
            return self._others[name]
        provider: Provider[Any] = importlib.import_module(f"{__name__}.{self._modules[name]}").PROVIDER
        return provider

    def __iter__(self) -> Iterator[str]:
        yield from self._modules
        yield from self._others

    def __len__(self) -> int:
        return len(self._modules) + len(self._others)

    def __contains__(self, name: object) -> bool:
        return name in self._modules or name in self._others


def provider_name(module: str) -> str:
    """The name of the provider in a module."""
    return module.lstrip("_").replace("_", "-")


@cache
def catalogue() -> Mapping[str, Provider[Any]]:
    return Catalogue()
