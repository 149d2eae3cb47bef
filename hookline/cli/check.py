"""`hookline check`: says what is wrong before something is started."""

import sys
from pathlib import Path

import click
import msgspec

from hookline.cli.options import config_option, json_option
from hookline.cli.output import coloured, titled
from hookline.doctor.checks import check_all
from hookline.doctor.findings import Finding
from hookline.runtime.logs import printable
from hookline.runtime.shutdown import ExitCode

_COLOURS = {"ok": "green", "warning": "yellow", "fault": "red"}
_TEXT_FROM = 19


@click.command(
    epilog="""\b
    Examples:
      hookline check
      hookline check attendance.py billing.py
      hookline check --json | jq -r 'select(.level == "fault") | .text'
    """
)
@click.argument("workers", nargs=-1, metavar="[WORKER]...")
@json_option
@config_option
def check(workers: tuple[str, ...], config: Path, *, as_json: bool) -> None:
    """Look for mistakes: in the settings, the workers' files, and what they need.

    One line for each thing, which says what to do. Nothing is started or changed, but the files of WORKER are imported.
    The exit code is 1 if there is a fault. A warning is none.
    """
    found = check_all(config, workers)
    for each in found:
        click.echo(msgspec.json.encode(each).decode() if as_json else _line(each))
    if any(each.level == "fault" for each in found):
        sys.exit(ExitCode.FAILED)


def _line(finding: Finding) -> str:
    level = f"{finding.level:<7}"
    line = titled(f"{level}  {finding.part}", printable(finding.text), _TEXT_FROM)
    return line.replace(level, coloured(level, _COLOURS[finding.level]), 1)
