"""A file system in memory that loses power at its n-th operation, and keeps what was synced.

What was not synced may be kept or not: a write wholly, not at all, or torn in the middle; a name in a folder, or its
removal, or not.
"""

import errno
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias
from zlib import crc32

Survival: TypeAlias = Literal["nothing", "everything", "torn", "mixed"]
Act: TypeAlias = Callable[[], object]
Change: TypeAlias = Callable[[bytes], bytes]
SURVIVALS: tuple[Survival, ...] = ("nothing", "everything", "torn", "mixed")


class PowerCut(BaseException):
    """Ends the program, like a power cut: nothing may catch it."""


@dataclass(eq=False)
class _Content:
    written: bytes = b""
    synced: bytes = b""


@dataclass
class _Folder:
    now: dict[str, _Content] = field(default_factory=dict)
    synced: dict[str, _Content] = field(default_factory=dict)
    is_synced: bool = False  # its own name in its parent


class _File:
    """Implements File, Readable."""

    def __init__(self, disk: "CrashingFiles", content: _Content) -> None:
        self._disk = disk
        self._content = content

    def write(self, data: bytes) -> None:
        self._disk.operate(
            f"write {len(data)}", lambda: self._write(data), partly=lambda: self._write(data[: len(data) // 2])
        )

    def _write(self, data: bytes) -> None:
        self._content.written += data

    def sync(self) -> None:
        self._disk.operate("sync", self._sync)

    def _sync(self) -> None:
        self._content.synced = self._content.written

    def read(self, offset: int, size: int) -> bytes:
        return self._content.written[offset : offset + size]

    def close(self) -> None:
        pass


class _Lock:
    def __init__(self, disk: "CrashingFiles", path: Path) -> None:
        self._disk = disk
        self._path = path

    def release(self) -> None:
        self._disk.locked.discard(self._path)


class CrashingFiles:
    """Implements Files. Operations that change something count from 1; `fail_at` of them raises `error` instead."""

    def __init__(self, crash_at: int = 0) -> None:
        self.crash_at = crash_at
        self.fail_at: dict[int, OSError] = {}
        self.operations: list[str] = []
        self.locked: set[Path] = set()
        self._folders = {Path("/"): _Folder(is_synced=True)}

    def operate(self, name: str, act: "Act", partly: "Act | None" = None) -> None:
        """Count an operation and carry it out, unless the power is cut, or it fails, just then."""
        self.operations.append(name)
        number = len(self.operations)
        if number == self.crash_at:
            if partly is not None:
                partly()
            raise PowerCut
        if number in self.fail_at:
            if partly is not None:
                partly()
            raise self.fail_at[number]
        act()

    def after_power_cut(self, survival: Survival) -> "CrashingFiles":
        """What another start finds. All processes are dead, so nothing is locked."""
        disk = CrashingFiles()
        for path, folder in self._folders.items():
            if survival == "nothing" and not all(self._folders[each].is_synced for each in (path, *path.parents)):
                continue
            names = folder.synced if survival == "nothing" else folder.now
            kept = {name: _survivor(content, _of(name, survival)) for name, content in names.items()}
            disk._folders[path] = _Folder(kept, dict(kept), is_synced=True)
        return disk

    def make_folder(self, path: Path) -> None:
        if path not in self._folders:
            self.operate("make folder", lambda: self._folders.update({path: _Folder()}))
            self.sync_folder(path.parent)

    def names(self, folder: Path) -> list[str]:
        found = self._folder(folder)
        inner = [path.name for path in self._folders if path.parent == folder]
        return sorted([*found.now, *inner])

    def create(self, path: Path) -> _File:
        if path.name in self._folder(path.parent).now:
            raise FileExistsError(errno.EEXIST, str(path))
        return self.append(path)

    def append(self, path: Path) -> _File:
        names = self._folder(path.parent).now
        if path.name not in names:
            self.operate(f"create {path.suffix}", lambda: names.update({path.name: _Content()}))
        return _File(self, names[path.name])

    def open(self, path: Path) -> _File:
        return _File(self, self._content(path))

    def size(self, path: Path) -> int:
        return len(self._content(path).written)

    def rename(self, path: Path, to: Path) -> None:
        content = self._content(path)

        def act() -> None:
            del self._folder(path.parent).now[path.name]
            self._folder(to.parent).now[to.name] = content

        self.operate("rename", act)

    def remove(self, path: Path) -> None:
        self._content(path)
        self.operate(f"remove {path.suffix}", lambda: self._folder(path.parent).now.pop(path.name))

    def remove_folder(self, path: Path) -> None:
        if self._folder(path).now:
            raise OSError(errno.ENOTEMPTY, str(path))
        self.operate("remove folder", lambda: self._folders.pop(path))

    def sync_folder(self, path: Path) -> None:
        folder = self._folder(path)

        def act() -> None:
            folder.synced = dict(folder.now)
            folder.is_synced = True
            for inner, each in self._folders.items():
                if inner.parent == path:
                    each.is_synced = True

        self.operate("sync folder", act)

    def lock(self, path: Path) -> _Lock | None:
        if path in self.locked:
            return None
        self.append(path)
        self.locked.add(path)
        return _Lock(self, path)

    def damage(self, suffix: str, change: "Change") -> int:
        """Change the bytes of every file with this suffix, on disk; how many there were."""
        contents = self._with(suffix)
        for content in contents:
            content.written = content.synced = change(content.written)
        return len(contents)

    def contents(self, suffix: str) -> list[bytes]:
        """The bytes of every file with this suffix."""
        return [content.written for content in self._with(suffix)]

    def _with(self, suffix: str) -> list[_Content]:
        folders = self._folders.values()
        return [content for each in folders for name, content in each.now.items() if name.endswith(suffix)]

    def _folder(self, path: Path) -> _Folder:
        if path not in self._folders:
            raise FileNotFoundError(errno.ENOENT, str(path))
        return self._folders[path]

    def _content(self, path: Path) -> _Content:
        names = self._folder(path.parent).now
        if path.name not in names:
            raise FileNotFoundError(errno.ENOENT, str(path))
        return names[path.name]


def _of(name: str, survival: Survival) -> Survival:
    """How a file survives; different ones differently if that is mixed."""
    return SURVIVALS[crc32(name.encode()) % 3] if survival == "mixed" else survival


def _survivor(content: _Content, survival: Survival) -> _Content:
    """What is left of a file: what was synced, and something of what was not."""
    loose = content.written[len(content.synced) :]
    kept: dict[str, bytes] = {
        "nothing": b"",
        "everything": loose,
        "torn": loose[: len(loose) // 2] + b"\0" * (len(loose) - len(loose) // 2),
    }
    data = content.synced + kept[survival]
    return _Content(data, data)
