"""The built-in providers, one module each. A new provider is a module here that declares `PROVIDER`."""

import importlib
import pkgutil
from collections.abc import Mapping
from functools import cache
from typing import Any

from hookline.schemas.provider import Provider


@cache
def catalogue() -> Mapping[str, Provider[Any]]:
    """The built-in providers by name, in alphabetical order."""
    modules = sorted(module.name for module in pkgutil.iter_modules(__path__))
    providers = [importlib.import_module(f"{__name__}.{name}").PROVIDER for name in modules]
    return {provider.name: provider for provider in providers}
