"""`python -m benchmarks`: measures, prints the table, and writes the figures to a file."""

import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

import click
import msgspec
import pytest

from benchmarks import table
from benchmarks.calibrating import calibrated
from benchmarks.errors import InvalidRun
from benchmarks.figures import Row
from benchmarks.processes import ROOT
from benchmarks.rows import (
    beginning,
    embedded,
    growth,
    ingress,
    latency,
    metrics,
    providers,
    routing,
    spool,
    waiting,
    whole_way,
    workers,
)
from benchmarks.run import Extent, Run
from benchmarks.servers import Servers

ROWS: Mapping[str, Callable[[Run], Iterator[Row]]] = {
    "ingress": ingress.on_rabbitmq,
    "ingress-go": ingress.against_go,
    "ingress-connections": ingress.with_fewer_connections,
    "ingress-processes": ingress.two_processes,
    "ingress-latency": latency.at_half_capacity,
    "ingress-latency-go": latency.beside_go,
    "ingress-embedded": embedded.ingress,
    "metrics-ingress": metrics.ingress,
    "metrics-worker": metrics.worker,
    "spool-cost": spool.cost,
    "spool-drain": spool.draining,
    "worker": workers.sqlite_store,
    "worker-delivery": workers.with_delivery,
    "worker-redis": workers.redis_store,
    "worker-ordered": workers.ordered,
    "worker-rate": whole_way.at_a_low_rate,
    "worker-embedded": workers.embedded,
    "workers-four": workers.four_processes,
    "whole-way": whole_way.against_faststream,
    "routing": routing.exact_keys,
    "start-up": beginning.start_up,
    "providers": providers.proof_and_identity,
    "connections": growth.connections,
    "sources": growth.sources,
    "bodies": growth.bodies,
    "waiting": waiting.on_rabbitmq,
    "waiting-embedded": waiting.embedded,
}
GROUPS: Mapping[str, tuple[str, ...]] = {
    "growth": ("connections", "sources", "bodies", "waiting", "waiting-embedded"),
}
_RESULTS = ROOT / "benchmarks" / "results" / "latest.json"
_FILE = click.Path(dir_okay=False, path_type=Path)
_USUAL = Extent()
_QUICK = Extent(rounds=1, seconds=1, events=5_000, waiting=50_000, spooled=20_000)


@click.command()
@click.argument("names", nargs=-1, metavar="[ROW]...")
@click.option("--rounds", type=click.IntRange(1), help=f"Rounds of each row, of two turns.  [default: {_USUAL.rounds}]")
@click.option(
    "--seconds",
    type=click.IntRange(1),
    help=f"Seconds of load in a turn; a round has two.  [default: {_USUAL.seconds}]",
)
@click.option(
    "--events",
    type=click.IntRange(100),
    help=f"Events in a queue that is drained in a turn.  [default: {_USUAL.events}]",
)
@click.option("--quick", is_flag=True, help="One short round of each row.")
@click.option(
    "--json",
    "results",
    type=click.Path(dir_okay=False, path_type=Path),
    default=_RESULTS,
    help="The file for every figure.",
)
@click.option("--markdown", is_flag=True, help="Print the table in Markdown.")
@click.option("--list", "listed", is_flag=True, help="List the rows, and exit.")
def main(  # noqa: PLR0913  one for each option
    names: tuple[str, ...],
    rounds: int | None,
    seconds: int | None,
    events: int | None,
    results: Path,
    *,
    quick: bool,
    markdown: bool,
    listed: bool,
) -> None:
    """Measure each ROW, or all rows, in turn with simpler programs, and print the ratios.

    Fails if an event is lost, duplicated or refused.
    """
    if listed:
        _list_rows()
        return
    chosen = [row for name in names or ROWS for row in GROUPS.get(name, (name,))]
    if strange := set(chosen) - set(ROWS):
        raise click.UsageError(f"there is no row {', '.join(sorted(strange))}; --list names them")
    if missing := table.missing_libraries():
        raise click.ClickException(f"{', '.join(missing)} is not installed: pip install -e '.[test,bench]'")
    usual = _QUICK if quick else _USUAL
    extent = Extent(
        rounds or usual.rounds, seconds or usual.seconds, events or usual.events, usual.waiting, usual.spooled
    )
    signal.signal(signal.SIGTERM, _end)  # so that all started programs end too
    try:
        rows, machine, fault = _measured(chosen, extent)
    except InvalidRun as error:
        click.echo(f"invalid run: {error}", err=True)
        sys.exit(1)
    except (pytest.skip.Exception, pytest.fail.Exception) as error:  # a server is not installed
        click.echo(error.msg, err=True)
        sys.exit(1)
    click.echo(f"{table.markdown(rows)}\n" if markdown else table.rendered(rows))
    click.echo(", ".join(f"{name} {value}" for name, value in machine.items()))
    results.parent.mkdir(parents=True, exist_ok=True)
    results.write_bytes(msgspec.json.format(msgspec.json.encode(table.as_json(rows, machine)), indent=1))
    if fault:
        click.echo(f"invalid run: {fault}; the rows above were measured before", err=True)
        sys.exit(1)


def _list_rows() -> None:
    for name, measure in ROWS.items():
        click.echo(f"{name:<18} {measure.__doc__}")
    for name, members in GROUPS.items():
        click.echo(f"{name:<18} All of {', '.join(members)}.")


def _end(number: int, frame: FrameType | None) -> NoReturn:
    sys.exit(128 + number)


def _measured(names: Sequence[str], extent: Extent) -> tuple[list[Row], dict[str, str], str]:
    """The rows, the versions of the machine and its servers, and what made a row invalid: none is measured after it."""
    rows, fault = list[Row](), ""
    with tempfile.TemporaryDirectory(prefix="hookline-benchmarks-") as folder, Servers() as servers:
        run = calibrated(Run(Path(folder), servers, extent))
        for name in names:
            run.say(name)
            try:
                rows += ROWS[name](run)
            except InvalidRun as error:
                fault = f"{name}: {error}"
                break
        return rows, {**table.machine(), **servers.versions()}, fault


if __name__ == "__main__":
    main()
