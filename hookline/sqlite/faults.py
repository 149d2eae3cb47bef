"""The sentences for a SQLite file that cannot be opened or used."""

import os
import sqlite3
from pathlib import Path

from hookline.schemas.errors import HooklineError, Locked, SettingsError, Unreachable

_NOT_ALLOWED = (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH)

_NEEDED = "this user must be able to write to the file and to its folder: run as their owner, or chown them"
_LOCKED = "another process has locked it for some seconds, as the upgrade of a large file does, or a VACUUM"
READ_ONLY = "its file system is read-only: name a file on another one"


def is_there(path: Path) -> bool:
    """Whether there is such a file. Raises Unreachable if its folder is missing, or this user may not look into it."""
    try:
        path.stat()
    except OSError as error:
        if isinstance(error, FileNotFoundError) and path.parent.is_dir():
            return False
        raise not_opened(path, error) from None
    return True


def not_opened(path: Path, error: Exception) -> HooklineError:
    """The error to raise for one that came while the file was opened, to be read or to be written."""
    if isinstance(error, SettingsError):
        return error
    if os.path.isdir(path):  # noqa: PTH112  Path.is_dir raises if this user may not look into a parent
        return SettingsError(f"{path} cannot be opened: it is a folder; name a file in it, as in sqlite:hookline.db")
    if _is_locked(error):
        return Locked(f"{path} cannot be opened: {_LOCKED}")
    return Unreachable(f"{path} cannot be opened: {_reason(path, error)}")


def not_used(path: Path, error: Exception) -> Exception:
    """The error to raise for one that came while the open file was used. What a step raised itself stays as it is."""
    if _is_locked(error):
        return Locked(f"{path.name} cannot be used: {_LOCKED}")
    if isinstance(error, sqlite3.Error | OSError):
        return Unreachable(f"{path.name} cannot be used: {_damage(error) or said_by(error)}")
    return error


def said_by(error: Exception) -> str:
    """What SQLite or the system said, without the number of the error."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _reason(path: Path, error: Exception) -> str:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return f"there is no folder {path.parent}; make it, or name another file"
    if _code(error) == sqlite3.SQLITE_NOTADB:
        return "it is no SQLite file; name another file"
    if is_read_only(path.parent):
        return READ_ONLY
    if _could_be_made(path):
        return "there is no such file; the first process that uses it makes it"
    if isinstance(error, PermissionError) or _code(error) in _NOT_ALLOWED:
        return _NEEDED
    return _damage(error) or str(error)


def is_read_only(folder: Path) -> bool:
    """Whether nobody may write there, as on an image that is mounted read-only."""
    try:
        return bool(os.statvfs(folder).f_flag & os.ST_RDONLY)
    except OSError:
        return False


def _damage(error: Exception) -> str:
    """What to do with a damaged file; empty for an error of another kind."""
    if _code(error) != sqlite3.SQLITE_CORRUPT:
        return ""
    return f"it is damaged ({error}): stop its processes, and restore it from a backup"


def _is_locked(error: Exception) -> bool:
    return _code(error) == sqlite3.SQLITE_BUSY


def _could_be_made(path: Path) -> bool:
    """Whether there is no such file, and this user may make it."""
    try:
        path.stat()
    except FileNotFoundError:
        return os.access(path.parent, os.W_OK, effective_ids=os.access in os.supports_effective_ids)
    except OSError:
        pass
    return False


def _code(error: Exception) -> int:
    """SQLite's primary code (https://www.sqlite.org/rescode.html); 0 for an error of another kind."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF
