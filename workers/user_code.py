"""Finds the line of a team's own code in a traceback."""

import asyncio
import sysconfig
import traceback
from collections.abc import Callable
from pathlib import Path
from types import CoroutineType, FrameType, TracebackType
from typing import Any, NamedTuple, cast

_HOOKLINE = str(Path(__file__).parent.parent)
_STANDARD_LIBRARY = tuple(sysconfig.get_paths()[name] for name in ("stdlib", "platstdlib"))
_EVENT_LOOP = (str(Path(asyncio.__file__).parent / "base_events.py"), str(Path(asyncio.__file__).parent / "runners.py"))
_HEAD = "Traceback (most recent call last):\n"
_MAX_NAME = 100
_MAX_DESCRIBED = 400
_LIBRARIES = ("site-packages", "dist-packages")


class Line(NamedTuple):
    """A line of a file."""

    path: str
    number: int


def raised_by_hookline(error: BaseException) -> bool:
    """Whether Hookline itself raised the error: it found a mistake in the code that called it."""
    lines = _lines(error.__traceback__)
    return bool(lines) and _is_in_hookline(lines[-1])


def user_line(error: BaseException) -> Line | None:
    """The innermost line of the team's own code that led to an error. None without a traceback.

    Code of Hookline, of the standard library and of installed libraries is not the team's, as long as there is another.
    For an application that is installed as a library itself, it is the line at which the application was entered.
    """
    if isinstance(error, SyntaxError) and error.filename:
        return Line(error.filename, error.lineno or 0)
    lines = _lines(error.__traceback__)
    outside = [line for line in lines if not (_is_in_hookline(line) or _is_in_standard_library(line))]
    own = [line for line in outside if not _is_in_library(line)]
    if own or outside:
        return own[-1] if own else outside[0]
    before = user_line(error.__context__) if error.__context__ is not None else None  # where a call was cancelled
    return before or (lines[-1] if lines else None)


def running_line(frame: FrameType) -> Line | None:
    """The innermost line of the team's own code that a thread runs now; None if it runs none.

    What has started the event loop is not looked at.
    """
    for each, number in traceback.walk_stack(frame):
        line = Line(each.f_code.co_filename, number)
        if line.path.startswith(_EVENT_LOOP):
            return None
        if _is_own(line):
            return line
    return None


def waiting_line(task: "asyncio.Task[Any]") -> Line | None:
    """The innermost line of the team's own code at which a task waits; None if it waits in none."""
    found, awaited = None, cast("Any", task.get_coro())
    while isinstance(awaited, CoroutineType):
        if awaited.cr_frame is not None:
            line = Line(awaited.cr_code.co_filename, awaited.cr_frame.f_lineno)
            found = line if _is_own(line) else found
        awaited = awaited.cr_await
    return found


def shown(error: BaseException, show: Callable[[BaseException], str]) -> str:
    """What `show` makes of an error; its type alone, if that fails because of what the error's own class does."""
    try:
        return show(error)
    except Exception:  # noqa: BLE001  the code of a team or of a library
        return f"{type(error).__name__}, which cannot be shown"


def described(error: BaseException) -> str:
    """The type of an error and the team's line that led to it. The text may quote a payload, and is left out.

    It is one line of a bounded length: a library may name a type after what a server has answered.
    """
    found = shown(error, _type_and_line)[:_MAX_DESCRIBED]
    return "".join(each if each.isprintable() else "?" for each in found)


def _type_and_line(error: BaseException) -> str:
    name, line = type(error).__name__[:_MAX_NAME], user_line(error)
    return name if line is None else f"{name} in {Path(line.path).name}:{line.number}"


def without_texts(error: BaseException) -> str:
    """The traceback of an error and of those that led to it, without their texts, which may quote a payload."""
    chain: list[BaseException] = []
    each: BaseException | None = error
    while each is not None and not any(each is before for before in chain):
        chain.append(each)
        each = each.__cause__ or (None if each.__suppress_context__ else each.__context__)
    parts = ["".join([_HEAD, *traceback.format_tb(each.__traceback__), type(each).__name__]) for each in chain]
    return "\n\n".join(reversed(parts))


def with_line(error: BaseException) -> str:
    """The type and text of an error, and the team's line that led to it, for the person who starts the worker."""
    line = user_line(error)
    where = "" if line is None or isinstance(error, SyntaxError) else f", in {Path(line.path).name}:{line.number}"
    return f"{type(error).__name__}: {error}{where}"


def _lines(trace: TracebackType | None) -> list[Line]:
    return [Line(frame.f_code.co_filename, number) for frame, number in traceback.walk_tb(trace)]


def _is_own(line: Line) -> bool:
    return not (_is_in_hookline(line) or _is_in_standard_library(line) or _is_in_library(line))


def _is_in_hookline(line: Line) -> bool:
    return line.path.startswith(_HOOKLINE)


def _is_in_standard_library(line: Line) -> bool:
    return line.path.startswith("<") or (line.path.startswith(_STANDARD_LIBRARY) and not _is_in_library(line))


def _is_in_library(line: Line) -> bool:
    return any(folder in Path(line.path).parts for folder in _LIBRARIES)
