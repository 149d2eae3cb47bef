"""The sentences for what cannot be imported: a user's module, or an optional library."""

import importlib
import linecache
import os
import re
import sys
import traceback
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from hookline.schemas.errors import SettingsError
from hookline.schemas.near_names import nearest
from hookline.shadowing import shadowing_file
from hookline.workers.user_code import raised_by_hookline, user_line

_KNOWN = {
    "source code string cannot contain null bytes": "it is UTF-16 or no text: save it as UTF-8",
    "relative import with no known parent package": (
        "name the module instead of the file, as in mypackage.workers, or import without the dot"
    ),
}
"""What to do about an error of Python, by a part of its text."""


def not_importable(name: str, error: BaseException) -> SettingsError:
    """An error that names the line of the module that led to what it raised.

    What Hookline raises, such as a mistake in `@worker(…)`, speaks for itself.
    """
    line = user_line(error)
    if line is not None and raised_by_hookline(error):
        return SettingsError(f"{line.path}:{line.number}: {error}{_remedy(error)}")
    if isinstance(error, SystemExit):
        where = "" if line is None else f" at {line.path}:{line.number}"
        return SettingsError(
            f'{name} exits when it is imported{where}: put what it runs under `if __name__ == "__main__":`'
        )
    if isinstance(error, PermissionError) and error.filename and Path(error.filename) == Path(name).absolute():
        return SettingsError(f"{name} cannot be read: this user may not read it: run as its owner, or chown it")
    where = "" if line is None or isinstance(error, SyntaxError) else f", in {line.path}:{line.number}"
    return SettingsError(f"{name} cannot be imported: {type(error).__name__}: {error}{where}{_remedy(error)}")


def _remedy(error: BaseException) -> str:
    """What to do about it, where that is known; otherwise an empty text."""
    if isinstance(error, NameError) and error.name is not None:
        module = next((module for module, names in _public_names().items() if error.name in names), "")
        return f"; add `from {module} import {error.name}`" if module else ""
    if isinstance(error, TypeError):
        made = _made_event(error)
        return f"; {made}(…) makes an event: write {made} without brackets to name its type" if made else ""
    if isinstance(error, KeyError) and _is_of_environment(error):
        return ": the environment has no such variable; set it"
    if remedy := next((remedy for part, remedy in _KNOWN.items() if part in str(error)), ""):
        return f"; {remedy}"
    if near := nearest(*_misspelt(error)):
        return f"; did you mean {near}?"
    is_missing = isinstance(error, ModuleNotFoundError) and not (error.name or "").startswith("hookline")
    return (
        f"; install it for {sys.executable}, or use the Hookline of the environment that has it" if is_missing else ""
    )


def _made_event(error: TypeError) -> str:
    """The event type that the team's line calls where it should name it; empty if that is not what is wrong."""
    line = user_line(error)
    if line is None or not str(error).startswith("Missing required argument"):
        return ""
    called: list[str] = re.findall(r"(\w+)\(", linecache.getline(line.path, line.number))
    return next((name for name in called if name in _public_names()["hookline.events"]), "")


def _is_of_environment(error: KeyError) -> bool:
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return bool(frames) and frames[-1].f_code is type(os.environ).__getitem__.__code__


def _misspelt(error: BaseException) -> tuple[str, Collection[str]]:
    """A name that Hookline does not have, and those that it has instead."""
    public = _public_names()
    if isinstance(error, ModuleNotFoundError):
        is_ours = (error.name or "").startswith("hookline.")
        return error.name or "", (*public, "hookline.testing", "hookline.provider") if is_ours else ()
    if isinstance(error, AttributeError):
        return error.name or "", public.get(getattr(error.obj, "__name__", ""), ())
    missing = re.match(r"cannot import name '(\w+)' from '(hookline(?:\.\w+)?)'", str(error))
    return (missing[1], public.get(missing[2], ())) if missing else ("", ())


def _public_names() -> Mapping[str, Collection[str]]:
    names = importlib.import_module("hookline").__all__
    return {"hookline": names, "hookline.events": vars(importlib.import_module("hookline.events")).keys()}


@contextmanager
def optional_libraries(extra: str, needed_by: str) -> Iterator[None]:
    """Turns an ImportError into a SettingsError that says how to install the libraries of an extra.

    It names the libraries themselves. Hookline is on no public package index, where its name may be somebody else's.
    """
    try:
        yield
    except ImportError as error:
        if sentence := shadowing_file():
            raise SettingsError(sentence) from None
        raise SettingsError(f"{needed_by}: pip install {_quoted(extra)} ({error})") from None


def _quoted(extra: str) -> str:
    from importlib.metadata import requires  # noqa: PLC0415  it takes a tenth of a command's start

    marker = f"extra == '{extra}'"
    found = [each.partition(";") for each in requires("hookline") or ()]
    return " ".join(f"'{name.strip()}'" for name, _, condition in found if condition.strip() == marker)
