"""The tables of the settings file: their keys are known, and their values of the right type."""

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from hookline.schemas.errors import SettingsError
from hookline.schemas.near_names import nearest
from hookline.settings_faults import not_convertible
from hookline.settings_sections import SECTIONS

S = TypeVar("S", bound=msgspec.Struct)


def table_of(key: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise SettingsError(f"{key}: expected a table, written [{key}]")
    return value


def keys(kind: type[msgspec.Struct]) -> list[str]:
    return [field.encode_name for field in msgspec.structs.fields(kind)]


def check_keys(key: str, table: Mapping[str, Any], known: set[str]) -> None:
    for name in table:
        if name not in known:
            place = f"{key}.{name}" if key else name
            hint = did_you_mean(name, known) or _right_place(key, name, table[name])
            raise SettingsError(f"{place}: there is no such setting{hint}")


def _right_place(key: str, name: str, value: Any) -> str:
    """Where a key belongs that stands in another section, or in none."""
    if not key and isinstance(value, dict) and "provider" in value:
        return f"; a source is written [sources.{name}]"
    sections = [section for section, kind in SECTIONS.items() if name in keys(kind) and section != key]
    return f"; it belongs to {' or '.join(f'[{section}]' for section in sections)}" if sections else ""


def did_you_mean(name: str, known: Any) -> str:
    near = nearest(name, known)
    return f"; did you mean {near}?" if near else ""


def convert(key: str, table: Mapping[str, Any], kind: type[S]) -> S:
    try:
        return msgspec.convert(table, kind)
    except msgspec.ValidationError as error:
        raise SettingsError(not_convertible(key, str(error), kind)) from None
