"""Providers from outside: `provider = "acme_rtc.hookline:PROVIDER"` names a module and a value in it."""

import importlib
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, TypeGuard

from hookline.import_errors import not_importable
from hookline.schemas.errors import SettingsError
from hookline.schemas.provider import Provider
from hookline.schemas.providers import catalogue
from hookline.schemas.topics import NAME

_REFERENCE = re.compile(r"(\w+(?:\.\w+)*):(\w+)")


def is_reference(provider: object) -> TypeGuard[str]:
    """Whether a source's `provider` names a module, and not a built-in provider."""
    return isinstance(provider, str) and ":" in provider


def load_outside_providers(references: Mapping[str, str], folder: Path) -> dict[str, Provider[Any]]:
    """The providers by their references. `references` maps the settings' keys to them.

    A module is found on Python's path, or else in `folder`. Raises SettingsError, whose text begins with the key.
    """
    found: dict[str, Provider[Any]] = {}
    for key, reference in references.items():
        if reference not in found:
            provider = _load(key, reference, folder)
            _check_name(key, provider, found)
            found[reference] = provider
    return found


def _load(key: str, reference: str, folder: Path) -> Provider[Any]:
    parts = _REFERENCE.fullmatch(reference)
    if parts is None:
        raise SettingsError(f'{key}: {reference!r} is not of the form "package.module:NAME"')
    module_name, name = parts.groups()
    module = _import(key, module_name, folder)
    if not hasattr(module, name):
        raise SettingsError(f"{key}: the module {module_name} has no {name}")
    provider = getattr(module, name)
    if not isinstance(provider, Provider):
        kind = type(provider).__name__
        raise SettingsError(f"{key}: {reference} is of the type {kind}; a hookline.provider.Provider is needed")
    return provider


def _import(key: str, name: str, folder: Path) -> ModuleType:
    place = str(folder.resolve())
    if place not in sys.path:
        sys.path.append(place)  # last, so that it hides nothing that is installed
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            raise SettingsError(
                f"{key}: there is no module {name}, neither on Python's path nor in {folder.resolve()}"
            ) from None
        raise not_importable(f"{key}: the module {name}", error) from error
    except (Exception, SystemExit) as error:  # a module may raise anything
        raise not_importable(f"{key}: the module {name}", error) from error


def _check_name(key: str, provider: Provider[Any], found: Mapping[str, Provider[Any]]) -> None:
    """Raise SettingsError unless topics can begin with the name, and no other provider has it."""
    name: object = provider.name
    if not (isinstance(name, str) and NAME.fullmatch(name)):
        raise SettingsError(
            f"{key}: the provider's name {name!r} is no word of a topic, which is 1 to 63 of a-z, 0-9, _ and -, "
            "beginning with a letter or digit"
        )
    if name in catalogue():
        raise SettingsError(f"{key}: the provider's name {name!r} is that of a built-in provider")
    for reference, other in found.items():
        if other.name == name and other is not provider:
            raise SettingsError(f"{key}: the provider's name {name!r} is also that of {reference}")
