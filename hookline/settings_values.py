"""Values that stand elsewhere than in the settings file.

`${NAME}` is in the environment, `${file:PATH}` and a whole value `file:PATH` are in a file.
"""

import errno
import os
import re
import stat
from pathlib import Path
from typing import Any
from urllib.parse import quote

from hookline.schemas.errors import SettingsError

_VARIABLE = re.compile(r"\$\{(file:[^}]+|[A-Za-z_][A-Za-z0-9_]*)\}")


class Resolver:
    """Replaces references by their values.

    Within a URL a value is percent-encoded, so that any password works. The host and port are taken as they are.
    """

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
            return self._file(key, value.removeprefix("file:"))
        return _VARIABLE.sub(lambda match: self._part(key, match), value)

    def _part(self, key: str, match: re.Match[str]) -> str:
        name = match[1]
        value = self._file(key, name.removeprefix("file:")) if name.startswith("file:") else self._variable(key, name)
        return quote(value, safe="") if _is_encoded(match.string, match.start(), match.end()) else value

    def _file(self, key: str, name: str) -> str:
        path = self._folder / name
        try:
            return _contents(path)
        except (OSError, UnicodeDecodeError) as error:
            fault = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else error.strerror
            raise SettingsError(f"{key}: {path} cannot be read: {fault}") from None

    @staticmethod
    def _variable(key: str, name: str) -> str:
        if name not in os.environ:
            raise SettingsError(f"{key}: the environment has no variable {name}")
        return os.environ[name]


def _is_encoded(text: str, start: int, end: int) -> bool:
    """Whether a value there is part of a URL, and not its host and port."""
    scheme, found, before = text[:start].partition("://")
    if not found or not scheme.isalpha():
        return False
    is_in_authority = not set(before) & set("/?#")
    return not is_in_authority or "@" in _VARIABLE.sub("", text[end:]).partition("/")[0]


def _contents(path: Path) -> str:
    """The text of a file, without the line ends that editors add, and without a byte order mark.

    A pipe or a device could keep the process waiting for ever.
    """
    if not stat.S_ISREG(path.stat().st_mode) and not path.is_dir():
        raise OSError(errno.EINVAL, "it is no regular file")
    return path.read_text(encoding="utf-8-sig").rstrip("\r\n")
