"""Finds a file of a team that shadows a module of Python or of a library, such as its own `logging.py`."""

import sys
import sysconfig
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

_INSTALLED = tuple(sysconfig.get_paths()[name] for name in ("stdlib", "platstdlib", "purelib", "platlib"))


def shadowing_file() -> str | None:
    """A sentence that names such a file among the modules that were imported, and what to do; None without one."""
    others = list(_of_others())
    of_python = [_sentence(name, "Python", path) for name, path in others if name in sys.stdlib_module_names]
    return next(chain(of_python, _of_libraries(others)), None)


def _of_others() -> Iterator[tuple[str, str]]:
    """The modules at the top of the imports that are no part of Python, and not installed, with their files."""
    for name, module in list(sys.modules.items()):
        path = getattr(module, "__file__", None)
        if "." not in name and path and not path.startswith(_INSTALLED) and name not in ("__main__", "hookline"):
            yield name, path


def _of_libraries(others: Sequence[tuple[str, str]]) -> Iterator[str]:
    from importlib.metadata import packages_distributions  # noqa: PLC0415  it needs much of Python

    libraries = packages_distributions()
    yield from (_sentence(name, "a library", path) for name, path in others if name in libraries)


def _sentence(name: str, owner: str, path: str) -> str:
    file = Path(path)
    named = file.parent if file.name == "__init__.py" else file
    return f"{named} shadows the module {name} of {owner}: rename it, or take its folder off PYTHONPATH"
