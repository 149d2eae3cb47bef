"""The command line of a program without sockets, whose instructions `benchmarks.instructions` counts."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click


def counted_command(programs: Iterable[str], text: str | None) -> Callable[[Callable[..., None]], click.Command]:
    """Make a command of a function of `program`, `folder`, `count` and `at_a_time`. `text` is its help."""
    types: dict[str, Any] = {
        "program": click.Choice(sorted(programs)),
        "folder": click.Path(path_type=Path),
        "count": int,
        "at_a_time": int,
    }
    arguments: list[click.Parameter] = [click.Argument([name], type=each) for name, each in types.items()]
    return lambda main: click.Command(None, callback=main, params=arguments, help=text)
