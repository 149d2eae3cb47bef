"""`python -m tests.chaos`: real processes and servers under random faults, and a verdict on what Hookline promises."""

import argparse
import asyncio
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.chaos.faults import KINDS, Store
from tests.chaos.planted import PLANTS
from tests.chaos.report import as_json, table
from tests.chaos.run import Plan, Result, run
from tests.chaos.servers import possible_kinds
from tests.chaos.traffic import Volume

_ROOMS = 60


def main() -> int:
    arguments = _parser().parse_args()
    store: Store = arguments.store or ("redis" if arguments.seed % 2 else "postgresql")
    kinds = _kinds(store, arguments.faults)
    volume = Volume(arguments.events, arguments.minutes * 60, _ROOMS)
    plan = Plan(arguments.seed, store, kinds, volume, planted=arguments.plant)
    folder = Path(tempfile.mkdtemp(prefix="hookline-chaos-"))
    _say(f"seed {plan.seed}, {volume.events} events in {arguments.minutes:g} minutes, store {store}; logs in {folder}")
    for fault in plan.schedule():
        _say(f"  {fault}")
    result = asyncio.run(run(plan, folder, _say))
    _print(result, as_json_too=arguments.json)
    if not result.verdict.broken and not arguments.keep:
        shutil.rmtree(folder)
    return 1 if result.verdict.broken else 0


def _print(result: Result, *, as_json_too: bool) -> None:
    _say(table(result.verdict, result.slowest_answer_s))
    if as_json_too:
        print(as_json(result.history, result.verdict, result.slowest_answer_s))  # noqa: T201  # a command's output


def _kinds(store: Store, named: Sequence[str] | None) -> list[str]:
    """The kinds of faults that were named, or all that are possible."""
    return [name for name in possible_kinds(store) if named is None or name in named]


def _kind_names(text: str) -> list[str]:
    names = text.split(",")
    if unknown := [name for name in names if name not in KINDS]:
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; there are {', '.join(KINDS)}")
    return names


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="draws the faults, the rooms and the types of the events")
    parser.add_argument("--minutes", type=float, default=10, help="how long events are sent")
    parser.add_argument("--events", type=int, default=5000)
    parser.add_argument("--store", choices=["redis", "postgresql"], help="by default redis for odd seeds")
    parser.add_argument("--faults", type=_kind_names, metavar="KIND,KIND", help=f"of {', '.join(KINDS)}")
    parser.add_argument("--json", action="store_true", help="print the verdict as JSON on stdout, too")
    parser.add_argument("--keep", action="store_true", help="keep logs and records of a run in which all promises held")
    parser.add_argument(
        "--plant", choices=sorted(PLANTS), help="run with this bug, to see whether the checker finds it"
    )
    return parser


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201  a command of its own


if __name__ == "__main__":
    sys.exit(main())
