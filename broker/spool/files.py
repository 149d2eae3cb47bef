"""The file operations of the spool, behind a protocol. A test double crashes at each of them in turn."""

import fcntl
import os
from pathlib import Path
from typing import Protocol

from hookline.aio.disk import sync


class File(Protocol):
    """A file to append to."""

    def write(self, data: bytes) -> None:
        """Append all of it. A part may be written if it raises OSError."""

    def sync(self) -> None:
        """Return once everything written is on disk."""

    def close(self) -> None: ...


class Readable(Protocol):
    """A file to read from."""

    def read(self, offset: int, size: int) -> bytes:
        """At most `size` bytes; fewer at the end of the file."""

    def close(self) -> None: ...


class Lock(Protocol):
    """A lock that ends with its process."""

    def release(self) -> None: ...


class Files(Protocol):
    """What the spool does with a file system. Every method may raise OSError."""

    def make_folder(self, path: Path) -> None:
        """Make a folder that only this user can enter, and its parents. Return once their names are on disk."""

    def names(self, folder: Path) -> list[str]:
        """The names in a folder, sorted."""

    def create(self, path: Path) -> File:
        """A new file that only this user can read. Raises FileExistsError."""

    def append(self, path: Path) -> File:
        """A file to append to, which is created if there is none."""

    def open(self, path: Path) -> Readable: ...

    def size(self, path: Path) -> int: ...

    def rename(self, path: Path, to: Path) -> None: ...

    def remove(self, path: Path) -> None: ...

    def remove_folder(self, path: Path) -> None: ...

    def sync_folder(self, path: Path) -> None:
        """Return once the names in a folder are on disk."""

    def lock(self, path: Path) -> Lock | None:
        """Lock a file, which is created if there is none. None if another process has locked it."""


class _Descriptor:
    """Implements File, Readable and Lock."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]

    def sync(self) -> None:
        sync(self._descriptor)

    def read(self, offset: int, size: int) -> bytes:
        return os.pread(self._descriptor, size, offset)

    def close(self) -> None:
        os.close(self._descriptor)

    release = close


class RealFiles:
    """Implements Files on the machine's file system."""

    def make_folder(self, path: Path) -> None:
        missing = [each for each in (path, *path.parents) if not each.exists()]
        for each in reversed(missing):
            each.mkdir(mode=0o700, exist_ok=True)
            self.sync_folder(each.parent)

    def names(self, folder: Path) -> list[str]:
        return sorted(path.name for path in folder.iterdir())

    def create(self, path: Path) -> File:
        return _Descriptor(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600))

    def append(self, path: Path) -> File:
        return _Descriptor(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600))

    def open(self, path: Path) -> Readable:
        return _Descriptor(os.open(path, os.O_RDONLY))

    def size(self, path: Path) -> int:
        return path.stat().st_size

    def rename(self, path: Path, to: Path) -> None:
        path.rename(to)

    def remove(self, path: Path) -> None:
        path.unlink()

    def remove_folder(self, path: Path) -> None:
        path.rmdir()

    def sync_folder(self, path: Path) -> None:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def lock(self, path: Path) -> Lock | None:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        except OSError:
            os.close(descriptor)
            raise
        return _Descriptor(descriptor)
