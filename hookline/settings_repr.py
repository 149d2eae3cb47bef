"""Sections of the settings that hold secrets, and show none in a traceback."""

from typing import Any, ClassVar

import msgspec

from hookline.schemas.redaction import HIDDEN


class HidesSecrets(msgspec.Struct, frozen=True):
    """A base of structs whose `repr` shows `***` for the values of their fields `secrets`."""

    secrets: ClassVar[frozenset[str]]

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [(name, self._shown(name)) for name in self.__struct_fields__]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.__rich_repr__())})"

    def _shown(self, name: str) -> Any:
        value = getattr(self, name)
        return HIDDEN if value and name in self.secrets else value
