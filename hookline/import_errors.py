"""The sentence for a user's module that cannot be imported."""

import traceback

from hookline.schemas.errors import SettingsError


def not_importable(name: str, error: Exception) -> SettingsError:
    """An error that names the module, what it raised, and the line that raised it."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    where = "" if isinstance(error, SyntaxError) else f", in {frame.filename}:{frame.lineno}"
    return SettingsError(f"{name} cannot be imported: {type(error).__name__}: {error}{where}")
