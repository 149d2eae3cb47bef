"""Tables for a person: drawn by rich on a terminal, plain columns in a pipe or a file."""

import sys
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import TYPE_CHECKING, TypeAlias

import click

from hookline.runtime.logs import printable

if TYPE_CHECKING:
    from rich.console import Console, JustifyMethod
    from rich.table import Table

Columns: TypeAlias = Sequence[Sequence[str]]
Row: TypeAlias = Sequence[str]
"""One text for each column; an empty one is shown as `-`."""

_CHUNK = 200
_GAP = 2
_SHORT = 20
_LONG = 48
"""On a narrow terminal a short text such as a time stays in one line. A long word such as a path may be broken."""


def show(
    columns: Columns,
    rows: Iterable[Row],
    *,
    numbers: Collection[str] = (),
    style: Callable[[Row], str] = lambda _: "",
) -> None:
    """Print a table to stdout. Nothing in a text is interpreted or cut off.

    Columns come in groups: on a terminal too narrow for all columns, those of a group stand below each other. A pipe
    gets one line for each row, however long. `numbers` are the columns to align on the right, and `style` names a
    row's style on a terminal.
    """
    cells = [[printable(text) or "-" for text in row] for row in rows]
    styles = [style(row) for row in cells]
    names = [name for group in columns for name in group]
    widths = [max(map(_width, column)) for column in zip(names, *cells, strict=True)]
    if not sys.stdout.isatty():
        click.echo("\n".join(_line(row, names, widths, numbers) for row in (names, *cells)))
        return
    console = _console()
    is_stacked = sum(widths) + _GAP * (len(widths) - 1) > console.width
    if is_stacked:
        names, *cells = [_stacked(columns, row) for row in (names, *cells)]
    widths = _fitting(names, cells, console.width)
    for start in range(0, max(len(cells), 1), _CHUNK):  # a long table appears bit by bit
        table = _table(names, numbers, widths, is_first=start == 0, is_stacked=is_stacked)
        _fill(table, cells[start : start + _CHUNK], styles[start : start + _CHUNK])
        console.print(*([""] if start and is_stacked else []), table, sep="\n")


def _width(text: str) -> int:
    """How many columns of a terminal a text takes; a Chinese character takes two."""
    from rich.cells import cell_len  # noqa: PLC0415  only tables need rich, and a server shows none

    return cell_len(text)


def _line(row: Row, names: Row, widths: Sequence[int], numbers: Collection[str]) -> str:
    """A row in plain columns."""
    padded = []
    for text, name, width in zip(row, names, widths, strict=True):
        blanks = " " * (width - _width(text))
        padded.append(f"{blanks}{text}" if name in numbers else f"{text}{blanks}")
    return (" " * _GAP).join(padded).rstrip()


def _console() -> "Console":
    from rich.console import Console  # noqa: PLC0415  see _width

    return Console(highlight=False, markup=False, emoji=False)


def _table(names: Row, numbers: Collection[str], widths: Sequence[int], *, is_first: bool, is_stacked: bool) -> "Table":
    from rich.box import SIMPLE_HEAD  # noqa: PLC0415  see _width
    from rich.table import Table  # noqa: PLC0415  see _width

    table = Table(
        box=SIMPLE_HEAD,
        show_header=is_first,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
        leading=int(is_stacked),
    )
    for name, width in zip(names, widths, strict=True):
        justify: JustifyMethod = "right" if name in numbers else "left"
        table.add_column(name, justify=justify, overflow="fold", width=width)
    return table


def _fitting(names: Row, rows: Sequence[Row], width: int) -> list[int]:
    """Widths of the columns on a terminal. The widest gives way first; an id is broken only if nothing else helps."""
    columns = [[line for text in column for line in text.split("\n")] for column in zip(names, *rows, strict=True)]
    widths = [max(map(_width, lines)) for lines in columns]
    least = [max(map(_unbroken_width, lines)) for lines in columns]
    while sum(widths) + _GAP * (len(widths) - 1) > width:
        wrappable = [number for number, unbroken in enumerate(least) if widths[number] > unbroken]
        widest = max(wrappable or range(len(widths)), key=widths.__getitem__)
        if widths[widest] == 1:
            break
        widths[widest] -= 1
    return widths


def _unbroken_width(line: str) -> int:
    """How wide a column must be to break nothing in this line that should stay whole."""
    parts = [line] if _width(line) <= _SHORT else line.split()
    return max((width for width in map(_width, parts) if width <= _LONG), default=1)


def _stacked(columns: Columns, row: Row) -> list[str]:
    """The texts of each group in one, below each other."""
    texts = iter(row)
    groups = [[next(texts) for _ in group] for group in columns]
    return ["\n".join([text for text in group if text != "-"] or ["-"]) for group in groups]


def _fill(table: "Table", rows: Sequence[Row], styles: Sequence[str]) -> None:
    from rich.text import Text  # noqa: PLC0415  see _width

    for row, style in zip(rows, styles, strict=True):
        table.add_row(*(Text(text) for text in row), style=style)
