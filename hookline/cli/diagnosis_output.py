"""What `hookline verify`, `refused verify` and `listen` print of a diagnosis."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click
import msgspec

from hookline.runtime.logs import printable
from hookline.runtime.shutdown import ExitCode

if TYPE_CHECKING:
    from hookline.diagnosis.steps import Diagnosis

_COLOURS = {"fits": "green", "fails": "red", "unknown": "yellow"}


def leave(diagnosis: "Diagnosis", context: click.Context, *, as_json: bool) -> None:
    """Print a diagnosis. End the command with exit code 1 unless the request would be accepted."""
    if as_json:
        click.echo(msgspec.json.encode(diagnosis).decode())
    else:
        for line in lines(diagnosis):
            click.echo(line)
        click.echo(f"\n{_conclusion(diagnosis)}")
    if not diagnosis.accepted:
        context.exit(ExitCode.FAILED)


def lines(diagnosis: "Diagnosis") -> Iterator[str]:
    """A line for each step."""
    for each in diagnosis.steps:
        result = click.style(f"{each.result:<7}", fg=_COLOURS[each.result])
        yield f"{result}  {each.step:<9}  {printable(each.text)}"


def _conclusion(diagnosis: "Diagnosis") -> str:
    if diagnosis.accepted is None:
        return "It cannot be told whether it would be accepted."
    if diagnosis.accepted:
        return f"{diagnosis.source} would accept it."
    return f"{diagnosis.source or 'The ingress'} would refuse it: {diagnosis.reason}."
