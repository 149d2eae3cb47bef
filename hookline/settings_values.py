"""Values that stand elsewhere than in the settings file: `${NAME}` in the environment, `file:…` in a file."""

import os
import re
from pathlib import Path
from typing import Any

from hookline.schemas.errors import SettingsError

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


class Resolver:
    """Replaces `${NAME}` by a value from the environment, and `file:…` by the contents of a file."""

    def __init__(self, folder: Path) -> None:
        """Relative paths of files begin at `folder`."""
        self._folder = folder

    def __call__(self, key: str, value: Any) -> Any:
        """A copy of the value with every text in it resolved. Raises SettingsError, whose text begins with the key."""
        match value:
            case dict():
                return {name: self(f"{key}.{name}", part) for name, part in value.items()}
            case list():
                return [self(key, part) for part in value]
            case str():
                return self._text(key, value)
            case _:
                return value

    def _text(self, key: str, value: str) -> str:
        if value.startswith("file:"):
            path = self._folder / value.removeprefix("file:")
            try:
                return _contents(path)
            except (OSError, UnicodeDecodeError) as error:
                raise SettingsError(f"{key}: {path} cannot be read: {type(error).__name__}") from None
        return _VARIABLE.sub(lambda match: self._variable(key, match[1]), value)

    @staticmethod
    def _variable(key: str, name: str) -> str:
        if name not in os.environ:
            raise SettingsError(f"{key}: the environment has no variable {name}")
        return os.environ[name]


def _contents(path: Path) -> str:
    """The text of a file, without the line ends that editors add, and without a byte order mark."""
    return path.read_text(encoding="utf-8-sig").rstrip("\r\n")
