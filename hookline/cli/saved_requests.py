"""A folder of refused requests, for `hookline verify`. Anybody can send a request, so the folder is bounded."""

from contextlib import suppress
from pathlib import Path

import click

from hookline.cli.output import say
from hookline.runtime.logs import printable


class SavedRequests:
    """Only the owner can read the files. Those of earlier runs count, too.

    Once a file would exceed a bound, or cannot be written, that is said on stderr, and no more are saved.
    """

    def __init__(self, folder: Path, *, max_files: int, max_bytes: int) -> None:
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            sizes = [path.stat().st_size for path in folder.glob("*.http")]
        except OSError as error:
            raise click.BadParameter(f"{folder}: {error.strerror}", param_hint="--save") from None
        self._folder = folder
        self._number = 0
        self._files_left = max_files - len(sizes)
        self._bytes_left = max_bytes - sum(sizes)
        self._is_over = False

    def keep(self, exact: bytes) -> str:
        """The path of a new file with this request; empty if it was not saved."""
        if self._is_over:
            return ""
        if self._files_left < 1:
            return self._end("it has as many requests as --save-max-files allows")
        if self._bytes_left < len(exact):
            return self._end("another request would exceed --save-max-bytes")
        try:
            path = self._new_file()
            _write(path, exact)
        except OSError as error:
            return self._end(error.strerror or str(error))
        self._files_left -= 1
        self._bytes_left -= len(exact)
        return str(path)

    def _new_file(self) -> Path:
        while True:
            self._number += 1
            path = self._folder / f"{self._number}.http"
            with suppress(FileExistsError):  # of an earlier run
                path.touch(mode=0o600, exist_ok=False)
                return path

    def _end(self, reason: str) -> str:
        self._is_over = True
        text = f"{self._folder}: {reason}; no more requests are saved. Empty it and start again, or name another folder"
        say(f"hookline: {printable(text)}", err=True)
        return ""


def _write(path: Path, exact: bytes) -> None:
    """Raises OSError, and leaves no part of the file then."""
    try:
        path.write_bytes(exact)
    except OSError:
        path.unlink(missing_ok=True)
        raise
