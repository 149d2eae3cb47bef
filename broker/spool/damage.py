"""What could not be read: copies for a person to look at, bounded in bytes."""

import logging
from contextlib import suppress
from pathlib import Path

from hookline.broker.spool.files import Files

log = logging.getLogger("hookline.spool")

_MAX_BYTES = 64 * 2**20


class Damaged:
    """A folder of damaged parts. Raises nothing: a copy that cannot be made is logged."""

    def __init__(self, folder: Path, files: Files) -> None:
        self.folder = folder
        self._files = files

    def keep(self, path: Path, offset: int, data: bytes) -> None:
        """Copy damaged bytes of a file. The same part is copied once."""
        try:
            if self._has_room(len(data)):
                self._copy(self.folder / f"{path.parent.name}-{path.stem}-{offset}", data)
        except OSError as error:
            log.error("a damaged part of %s cannot be copied: %s", path, error)

    def move(self, path: Path) -> None:
        """Move a whole file that cannot be read. Raises OSError."""
        self._files.make_folder(self.folder)
        self._files.rename(path, self.folder / f"{path.parent.name}-{path.name}")
        self._files.sync_folder(self.folder)

    def _copy(self, path: Path, data: bytes) -> None:
        with suppress(FileExistsError):
            file = self._files.create(path)
            try:
                file.write(data)
                file.sync()
            finally:
                file.close()

    def _has_room(self, size: int) -> bool:
        self._files.make_folder(self.folder)
        kept = sum(self._files.size(self.folder / name) for name in self._files.names(self.folder))
        if kept + size <= _MAX_BYTES:
            return True
        log.warning("%s is full: damaged parts are not copied any more", self.folder)
        return False
