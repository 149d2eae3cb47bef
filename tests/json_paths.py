"""Each place in decoded JSON, and copies with another value there."""

from typing import Any, TypeAlias

Path: TypeAlias = tuple[str | int, ...]


def paths(value: Any) -> list[Path]:
    """The places of all fields and items, at any depth."""
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path for name, child in children for path in [(name,), *((name, *rest) for rest in paths(child))]]


def at(value: Any, path: Path) -> Any:
    return at(value[path[0]], path[1:]) if path else value


def changed(value: Any, path: Path, *other: Any) -> Any:
    """The value with another one at a path, or without that path."""
    copy = value.copy()
    name, *rest = path
    if rest:
        copy[name] = changed(value[name], tuple(rest), *other)
    elif other:
        copy[name] = other[0]
    else:
        del copy[name]
    return copy
