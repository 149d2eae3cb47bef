"""What commands print: sentences, numbers and JSON, whatever the texts are that they quote."""

import json
import sys
from typing import Any, NoReturn

import click
import msgspec

from hookline.runtime.logs import printable
from hookline.runtime.shutdown import ExitCode

_MAX_SENTENCE = 600
"""Characters of a sentence about a mistake. It may quote an argument of any length; seven lines of 80 are readable."""


def leave(sentence: str, code: ExitCode = ExitCode.FAILED) -> NoReturn:
    """End the command with one sentence on stderr."""
    click.echo(f"hookline: {readable(sentence)}", err=True)
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


def shortened(text: str, length: int) -> str:
    """The beginning of a text; an ellipsis says that there is more."""
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
