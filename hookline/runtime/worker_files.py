"""Finds the workers in Python files and modules."""

import importlib
import importlib.util
import os
import stat
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

from hookline.import_errors import not_importable
from hookline.runtime.import_watch import watching_import
from hookline.schemas.errors import SettingsError
from hookline.schemas.near_names import nearest
from hookline.workers.api import Worker

BUILT_IN = "rooms"
"""The name of the room view in commands, and of its queue."""


def find_workers(names: Iterable[str]) -> list[Worker[Any]]:
    """All workers in these files and modules.

    Raises SettingsError for a file that cannot be imported or has no worker, for two workers with the same queue, and
    for a worker with the queue of the room view: each of them would get only a part of the events.
    """
    found: list[Worker[Any]] = []
    names = list(names)
    if twice := [name for name in names if names.count(name) > 1]:
        raise SettingsError(f"{twice[0]} is named twice: leave one out")
    for name in names:
        with watching_import(name):
            module = _load_file(Path(name)) if name.endswith(".py") else _load_module(name)
        workers = {id(value): value for value in vars(module).values() if isinstance(value, Worker)}
        if not workers:
            raise SettingsError(
                f"{name}: there is no worker at its top level; `from hookline import worker` and @worker(...) make one"
            )
        found += [worker for worker in workers.values() if worker not in found]
    check_queues(found)
    return found


def check_queues(workers: Iterable[Worker[Any]]) -> None:
    queues: set[str] = set()
    for worker in workers:
        if worker.queue == BUILT_IN:
            raise SettingsError(
                f"queue {BUILT_IN!r} belongs to the built-in room view; give yours another name: @worker(…, queue=…)"
            )
        if worker.queue in queues:
            raise SettingsError(two_workers(worker.queue))
        queues.add(worker.queue)


def two_workers(queue: str) -> str:
    """What to say of two workers with one queue."""
    return (
        f"queue {queue!r} has two workers, and each would get only a part of the events; give one another name: "
        "@worker(…, queue=…)"
    )


def _load_file(path: Path) -> ModuleType:
    """Import a file as a module, which may import its neighbours."""
    try:
        is_file = stat.S_ISREG(path.stat().st_mode)
    except PermissionError:
        raise SettingsError(f"{path}: this user may not read it: run as its owner, or chown it") from None
    except OSError:
        is_file = False
    if not is_file:
        raise SettingsError(f"{path}: there is no such file")
    name = f"hookline_worker_{path.stem}_{abs(hash(path.resolve()))}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise SettingsError(f"{path}: this is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path.insert(0, str(path.resolve().parent))
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # the file may raise anything
        raise not_importable(str(path), error) from error
    return module


def _name_meant(name: str) -> str:
    if nearest(name, [BUILT_IN]):
        return f"; did you mean {BUILT_IN}?"
    if Path(f"{name}.py").is_file():
        return f"; write {name}.py for the file"
    return ", and the name of a Python file ends with .py" if Path(name).is_file() else ""


def _load_module(name: str) -> ModuleType:
    if name.endswith(".toml"):
        raise SettingsError(f"{name} is no worker's file, such as attendance.py; --config names the settings file")
    if not all(part.isidentifier() for part in name.split(".")):
        if os.path.isdir(name):  # noqa: PTH112  Path.is_dir raises if this user may not look there
            raise SettingsError(f"{name} is a folder: name the Python files in it that have workers")
        if os.path.isfile(file := name.partition(".py:")[0] + ".py"):  # noqa: PTH113  see above
            raise SettingsError(f"{name!r}: write {file} alone; all workers in it run")
        raise SettingsError(f"{name!r} is neither a Python file, such as attendance.py, nor the name of a module")
    sys.path.insert(0, str(Path.cwd()))
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if name == error.name or name.startswith(f"{error.name}."):
            raise SettingsError(f"{name}: there is no such module{_name_meant(name)}") from None
        raise not_importable(name, error) from error
    except (Exception, SystemExit) as error:  # the file may raise anything
        raise not_importable(name, error) from error
