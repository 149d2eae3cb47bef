"""What `hookline verify`, `refused verify` and `listen` print of a diagnosis."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from hookline.cli.output import as_json_line, coloured, say, wrapped
from hookline.runtime.logs import printable
from hookline.runtime.shutdown import ExitCode

if TYPE_CHECKING:
    from hookline.diagnosis.steps import Diagnosis

_TEXT_FROM = 20
_COLOURS = {"fits": "green", "fails": "red", "unknown": "yellow"}


def leave(diagnosis: "Diagnosis", context: click.Context, *, as_json: bool, if_stale: str = "") -> None:
    """Print a diagnosis. End the command with exit code 1 unless the request would be accepted.

    `if_stale` is what to do about a time stamp that fails.
    """
    if as_json:
        click.echo(as_json_line(diagnosis))
    else:
        for line in lines(diagnosis):
            click.echo(line)
        advice = f" {if_stale}" if if_stale and diagnosis.reason == "stale_timestamp" else ""
        click.echo()
        say(f"{_conclusion(diagnosis)}{advice}")
    if not diagnosis.accepted:
        context.exit(ExitCode.FAILED)


def lines(diagnosis: "Diagnosis", indent: int = 0) -> Iterator[str]:
    """A line for each step; on a terminal several, if it is too narrow."""
    for each in diagnosis.steps:
        result = coloured(f"{each.result:<7}", _COLOURS[each.result])
        first, *rest = wrapped(printable(each.text), indent + _TEXT_FROM)
        yield f"{' ' * indent}{result}  {each.step:<9}  {first}"
        yield from (" " * (indent + _TEXT_FROM) + line for line in rest)


def _conclusion(diagnosis: "Diagnosis") -> str:
    if diagnosis.accepted is None:
        return "It cannot be told whether it would be accepted."
    if diagnosis.accepted:
        is_sure = all(each.result == "fits" for each in diagnosis.steps)
        return f"{diagnosis.source} would accept it{'' if is_sure else ', if what is unknown fits'}."
    return f"{diagnosis.source or 'The ingress'} would refuse it: {diagnosis.reason}."
