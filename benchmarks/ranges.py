"""`python -m benchmarks.ranges`: what several runs said of each row, and whether every round of all met its target."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

import click
import msgspec

from benchmarks.figures import Target
from benchmarks.processes import ROOT
from benchmarks.table import lined

RUNS = ROOT / "benchmarks" / "runs"
_MACHINE = ("run", "cpus", "system", "Python", "aiohttp", "RabbitMQ")
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


class KeptRow(msgspec.Struct, frozen=True):
    """One row of a run. `values` has one of each round: the ratio, or our figure where there is no reference."""

    name: str
    unit: str
    reference: str
    target: str
    values: tuple[float, ...]

    @property
    def key(self) -> tuple[str, str, str]:
        return self.name, self.unit, self.reference

    def is_met(self, value: float) -> bool:
        sign, _, limit = self.target.partition(" ")
        return Target("<=" if sign == "<=" else ">=", float(limit)).is_met(value)


class KeptRun(msgspec.Struct, frozen=True):
    """One run of `python -m benchmarks`, or several of some rows each."""

    machine: dict[str, str]
    rows: tuple[KeptRow, ...]


@click.command(
    epilog="""\b
    Examples:
      python -m benchmarks --json morning.json
      python -m benchmarks.ranges --keep 2026-11-27-morning morning.json
      python -m benchmarks.ranges > ranges.md
    """
)
@click.option("--keep", metavar="NAME", help="Keep what these results say as a run of this name: its day, and more.")
@click.argument("results", nargs=-1, type=_FILE)
def main(keep: str | None, results: tuple[Path, ...]) -> None:
    """Print the rows of all kept runs in Markdown.

    RESULTS are what `python -m benchmarks --json FILE` has written. With --keep they become a run.
    """
    if bool(keep) != bool(results):
        raise click.UsageError("--keep NAME needs RESULTS, and they need a name")
    if keep:
        RUNS.mkdir(exist_ok=True)
        (RUNS / f"{keep}.json").write_bytes(msgspec.json.format(msgspec.json.encode(joined(results)), indent=1))
    click.echo(markdown(kept_runs()))


def joined(results: Sequence[Path]) -> KeptRun:
    """The run whose rows are in these files."""
    runs = [msgspec.json.decode(path.read_bytes(), type=KeptRun) for path in results]
    return KeptRun(
        machine={name: value for run in runs for name, value in run.machine.items()},
        rows=tuple(row for run in runs for row in run.rows),
    )


def kept_runs() -> dict[str, KeptRun]:
    """The kept runs in the order of their names, which begin with the day."""
    return {path.stem: msgspec.json.decode(path.read_bytes(), type=KeptRun) for path in sorted(RUNS.glob("*.json"))}


def markdown(runs: dict[str, KeptRun]) -> str:
    """A line for each row, with a column for each version of RabbitMQ; and what the runs ran on.

    A cell has the median of the runs' medians, the lowest and the highest round of all of them, and how many they are.
    """
    versions = list(dict.fromkeys(map(_version, runs.values())))
    head = ("row", "unit", *(f"RabbitMQ {version}" for version in versions), "target")
    return f"{lined(head, _lines(list(runs.values()), versions))}\n\n{lined(_MACHINE, _machines(runs))}"


def _version(run: KeptRun) -> str:
    """The version of RabbitMQ without its last part."""
    return run.machine["RabbitMQ"].rpartition(".")[0]


def _machines(runs: dict[str, KeptRun]) -> Iterator[tuple[str, ...]]:
    for name, run in runs.items():
        yield (name, *(run.machine.get(each, "") for each in _MACHINE[1:]))


def _lines(runs: Sequence[KeptRun], versions: Sequence[str]) -> Iterator[tuple[str, ...]]:
    for key in dict.fromkeys(row.key for run in runs for row in run.rows):
        found = [(_version(run), row) for run in runs for row in run.rows if row.key == key]
        cells = [_cell([row for found_version, row in found if found_version == version]) for version in versions]
        name, unit, reference = key
        unit = f"{unit} / {reference}" if reference else unit
        yield (name, unit, *cells, _verdict([row for _, row in found]))


def _cell(rows: Sequence[KeptRow]) -> str:
    if not rows:
        return ""
    values = [value for row in rows for value in row.values]
    middle = median(median(row.values) for row in rows)
    runs = "1 run" if len(rows) == 1 else f"{len(rows)} runs"
    return f"{_number(middle)} ({_number(min(values))} to {_number(max(values))}), {runs}"


def _verdict(rows: Sequence[KeptRow]) -> str:
    """A target is met if every round of every run meets that of the last one."""
    last = rows[-1]
    if not last.target:
        return ""
    is_met = all(last.is_met(value) for row in rows for value in row.values)
    return f"{last.target} {'met' if is_met else 'MISSED'}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


if __name__ == "__main__":
    main()
