"""What commands print: sentences, numbers and JSON, whatever the texts are that they quote."""

import json
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from tempfile import SpooledTemporaryFile
from typing import Any, NoReturn

import click
import msgspec

from hookline.runtime.logs import are_colours_wanted, printable
from hookline.runtime.shutdown import ExitCode

_MAX_SENTENCE = 600
"""Characters of a sentence about a mistake. It may quote an argument of any length; seven lines of 80 are readable."""
_MAX_SHOWN = 128
_MIN_WRAPPED = 20
_MAX_IN_MEMORY_BYTES = 16 * 1024 * 1024
_CHUNK = 64 * 1024
_WORD = re.compile(r"(?:`[^`]*`|\S)+")
"""What stays on one line: a word, or a command in backticks, so that it can be copied."""


def say(text: str, *, err: bool = False) -> None:
    """Print a sentence. A terminal gets several lines if it is narrower."""
    click.echo("\n".join(wrapped(text, err=err)), err=err)


@contextmanager
def printed_at_the_end() -> Iterator[Callable[[str], object]]:
    """A function for lines that are printed at the end of the block, also after an error.

    A pager takes what its screen shows, and no more until somebody reads on. Within the block, a command that waits for
    it would keep its queue locked, and send no heartbeats to RabbitMQ. Much text waits in a file without a name.
    """
    with SpooledTemporaryFile(_MAX_IN_MEMORY_BYTES, "w+", encoding="utf-8", newline="") as lines:
        try:
            yield lambda line: lines.write(f"{line}\n")
        finally:
            lines.seek(0)
            while chunk := lines.read(_CHUNK):
                click.echo(chunk, nl=False)


def titled(title: str, text: str, start: int) -> str:
    """A text beside its title, from this column on. A terminal gets several lines if it is narrower."""
    return f"{title:<{start}}" + f"\n{' ' * start}".join(wrapped(text, start))


def wrapped(text: str, start: int = 0, *, err: bool = False) -> Sequence[str]:
    """The lines of a text that begins at this column of a terminal; one line where the output goes elsewhere."""
    if not (sys.stderr if err else sys.stdout).isatty():
        return [text]
    from rich.cells import cell_len  # noqa: PLC0415  only a terminal needs rich, and a server has none

    width = max(shutil.get_terminal_size().columns - start, _MIN_WRAPPED)
    if cell_len(text) <= width:
        return [text]
    lines = [""]
    for word in _WORD.findall(text):
        longer = f"{lines[-1]} {word}" if lines[-1] else word
        if lines[-1] and cell_len(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def coloured(text: str, colour: str) -> str:
    """A text for `click.echo`, which takes the colour away where the output is no terminal."""
    return click.style(text, fg=colour) if are_colours_wanted() else text


def leave(sentence: str, code: ExitCode = ExitCode.FAILED) -> NoReturn:
    """End the command with one sentence on stderr."""
    say(f"hookline: {readable(sentence)}", err=True)
    sys.exit(code)


def check_no_terminal() -> None:
    """End the command at a terminal: it is to write bytes that a sender chose, which could do anything to one."""
    if sys.stdout.isatty():
        leave("exact bytes are not written to a terminal: send them to a file, or through | cat -v")


def readable(sentence: str) -> str:
    """A sentence on one line whose quotations are neither endless nor able to move the cursor."""
    return printable(middle_cut(sentence, _MAX_SENTENCE))


def middle_cut(text: str, length: int) -> str:
    """A text with its middle left out if it is longer, since a sentence has its remedy at the end."""
    half = (length - 1) // 2
    return text if len(text) <= length else f"{text[:half]}…{text[-half:]}"


def shortened(text: str, length: int = _MAX_SHOWN) -> str:
    """The beginning of a text; an ellipsis says that there is more. By default as much as a sentence should quote."""
    return text if len(text) <= length else f"{text[: length - 1]}…"


def numbered(count: int, noun: str, nouns: str) -> str:
    """A number with its noun: `1 dead letter`, `2 dead letters`."""
    return f"{count} {noun if count == 1 else nouns}"


def as_json_line(value: Any) -> str:
    """A value as JSON. Bytes of a request's head that are no UTF-8 are escaped, each as a lone surrogate."""
    try:
        return msgspec.json.encode(value).decode()
    except UnicodeEncodeError:
        return json.dumps(msgspec.to_builtins(value), separators=(",", ":"))
