"""The sentences for what cannot be imported: a user's module, or an optional library."""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import requires

from hookline.schemas.errors import SettingsError


def not_importable(name: str, error: Exception) -> SettingsError:
    """An error that names the module, what it raised, and the line that raised it."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    where = "" if isinstance(error, SyntaxError) else f", in {frame.filename}:{frame.lineno}"
    return SettingsError(f"{name} cannot be imported: {type(error).__name__}: {error}{where}")


@contextmanager
def optional_libraries(extra: str, needed_by: str) -> Iterator[None]:
    """Turns an ImportError into a SettingsError that says how to install the libraries of an extra.

    It names the libraries themselves. Hookline is on no public package index, where its name may be somebody else's.
    """
    try:
        yield
    except ImportError as error:
        raise SettingsError(f"{needed_by}: pip install {_quoted(extra)} ({error})") from None


def _quoted(extra: str) -> str:
    marker = f"extra == '{extra}'"
    found = [each.partition(";") for each in requires("hookline") or ()]
    return " ".join(f"'{name.strip()}'" for name, _, condition in found if condition.strip() == marker)
