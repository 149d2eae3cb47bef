"""Tables for a person: fitted to the width of a terminal, plain columns in a pipe or a file."""

import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import chain, zip_longest
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import click

from hookline.runtime.logs import printable

if TYPE_CHECKING:
    from rich.console import Console

Columns: TypeAlias = Sequence[Sequence[str]]
Row: TypeAlias = Sequence[str]
"""One text for each column; an empty one is shown as `-`."""

_GAP = 2
_INDENT = 2
_MIN_WRAPPED = 30
"""The last column is wrapped beside others if this many columns of the terminal are left for it."""


class _Place(NamedTuple):
    """Where a column stands in its line. A longer text than the width is wrapped."""

    column: int
    start: int
    width: int


_Layout: TypeAlias = Sequence[Sequence[_Place]]
"""The lines of a row."""


def show(
    columns: Columns,
    rows: Iterable[Row],
    *,
    numbers: Collection[str] = (),
    style: Callable[[Row], str] = lambda _: "",
) -> None:
    """Print a table to stdout. Nothing in a text is interpreted or cut off.

    Columns come in groups: on a terminal too narrow for all columns, a row takes several lines, and the columns of a
    group stay in one line where they fit. The first line is not repeated while it stays the same. A pipe gets one line
    for each row, however long. `numbers` are the columns to align on the right, and `style` names a row's style on a
    terminal.
    """
    cells = [[printable(text) or "-" for text in row] for row in rows]
    styles = [style(row) for row in cells]
    names = [name for group in columns for name in group]
    widths = [max(map(_width, column)) for column in zip(names, *cells, strict=True)]
    aligned = [_aligned(row, names, widths, numbers) for row in (names, *cells)]
    if sys.stdout.isatty():
        console = _console()
        _draw(console, _layout(columns, aligned, console.width), aligned, styles)
    else:
        click.echo("\n".join((" " * _GAP).join(row).rstrip() for row in aligned))


def _width(text: str) -> int:
    """How many columns of a terminal a text takes; a Chinese character takes two."""
    from rich.cells import cell_len  # noqa: PLC0415  only tables need rich, and a server shows none

    return cell_len(text)


def _aligned(row: Row, names: Row, widths: Sequence[int], numbers: Collection[str]) -> list[str]:
    """The texts of a row, padded to the widths of their columns."""
    padded = []
    for text, name, width in zip(row, names, widths, strict=True):
        blanks = " " * (width - _width(text))
        padded.append(f"{blanks}{text}" if name in numbers else f"{text}{blanks}")
    return padded


def _console() -> "Console":
    from rich.console import Console  # noqa: PLC0415  see _width

    return Console(highlight=False, markup=False, emoji=False)


def _layout(columns: Columns, rows: Sequence[Row], width: int) -> _Layout:
    """The lines of a row, on a terminal of this width. What does not fit begins another line, further to the right.

    The last column needs only what its longest word does: it is wrapped.
    """
    longest = [_width(text) for text in rows[0]]
    needed = [*longest[:-1], min(longest[-1], max(_MIN_WRAPPED, _longest_word(row[-1] for row in rows)))]
    lines: list[list[_Place]] = [[]]
    number = end = 0
    for group in columns:
        of_group = sum(needed[number : number + len(group)]) + _GAP * (len(group) - 1)
        is_new = end + of_group > width
        for _ in group:
            if lines[-1] and (is_new or end + needed[number] > width):
                end = _INDENT * len(lines)
                lines.append([])
            is_new = False
            place = _Place(number, end, max(min(longest[number], width - end), 1))
            lines[-1].append(place)
            number, end = number + 1, end + place.width + _GAP
    return lines


def _longest_word(texts: Iterable[str]) -> int:
    return max((_width(word) for text in texts for word in text.split()), default=0)


def _draw(console: "Console", layout: _Layout, rows: Sequence[Row], styles: Sequence[str]) -> None:
    """Print the names of the columns, a rule, and the rows."""
    from rich.text import Text  # noqa: PLC0415  see _width

    names, *cells = ([list(_placed(console, places, row)) for places in layout] for row in rows)
    console.print(Text("\n".join(chain(*names)), style="bold"), soft_wrap=True)
    console.print("─" * max(place.start + place.width for places in layout for place in places), soft_wrap=True)
    before = list[str]()
    for (first, *others), style in zip(cells, styles, strict=True):
        is_repeated = first == before and bool(others)
        if before and others and not is_repeated:
            console.print()
        lines = chain(*others) if is_repeated else chain(first, *others)
        console.print(Text("\n".join(lines), style=style), soft_wrap=True)
        before = first


def _placed(console: "Console", places: Sequence[_Place], row: Row) -> Iterator[str]:
    """The columns of a line beside each other. They take several lines if a text is wider than its place."""
    texts = [_wrapped(console, row[each.column].rstrip(), each.width) for each in places]
    for parts in zip_longest(*texts, fillvalue=""):
        line = ""
        for place, part in zip(places, parts, strict=True):
            line += " " * (place.start - _width(line)) + part
        yield line.rstrip()


def _wrapped(console: "Console", text: str, width: int) -> Sequence[str]:
    from rich.text import Text  # noqa: PLC0415  see _width

    if _width(text) <= width:
        return [text]
    return [line.plain.rstrip() for line in Text(text).wrap(console, width, overflow="fold")]
