"""`python -m tests.simulation --seeds 0-4999`: runs schedules, and shows the first that breaks a promise."""

import argparse
import gc
import os
import sys
import time

from tests.simulation.mutants import MUTANTS
from tests.simulation.schedules import draw
from tests.simulation.shrink import shrunk
from tests.simulation.world import Verdict, simulate

_SAY_EVERY_S = 5.0
_COLLECT_EVERY = 10
"""Each run is garbage as a whole. That of a few runs is collected faster than that of many, which leaves the cache."""


def main() -> int:
    """0 if every promise was kept; 1 if one was broken, with `--mutant` if none was."""
    arguments = _parser().parse_args()
    if arguments.mutant:
        MUTANTS[arguments.mutant].plant()
    first, last = arguments.seeds
    found = _first_broken(first, last)
    if found is None:
        _say(f"seeds {first}-{last}: every promise was kept")
    else:
        _show(shrunk(found) if arguments.shrink else simulate(found.schedule, traced=True), arguments.mutant)
    return int((found is None) if arguments.mutant else (found is not None))


def _first_broken(first: int, last: int) -> Verdict | None:
    said_s = time.monotonic()
    gc.disable()
    gc.freeze()  # what is imported stays, and need not be looked at again
    for seed in range(first, last + 1):
        verdict = simulate(draw(seed))
        if seed % _COLLECT_EVERY == 0:
            gc.collect()
        if verdict.rule is not None:
            return verdict
        if time.monotonic() - said_s >= _SAY_EVERY_S:
            said_s = time.monotonic()
            _say(f"seeds {first}-{seed} of {last}: every promise was kept")
    return None


def _show(verdict: Verdict, mutant: str | None) -> None:
    seed = verdict.schedule.seed
    _say(str(verdict.schedule))
    for line in verdict.trace:
        _say(line)
    _say(f"Broken after {verdict.virtual_s:.1f} s: {verdict.detail}")
    planted = f" --mutant {mutant}" if mutant else ""
    _say(f"Again: python -m tests.simulation --seeds {seed}-{seed}{planted}")


def _seeds(text: str) -> tuple[int, int]:
    first, _, last = text.partition("-")
    return int(first), int(last or first)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=_seeds, default=(0, 4999), metavar="A-B", help="by default 0-4999")
    parser.add_argument("--mutant", choices=sorted(MUTANTS), help="take out one mend: the seeds have to find it")
    parser.add_argument(
        "--no-shrink", dest="shrink", action="store_false", help="show the schedule as it was drawn, however long"
    )
    return parser


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201  a command's output


if __name__ == "__main__":
    if os.environ.get("PYTHONHASHSEED") != "0":  # the order of sets of texts is part of a schedule
        command = [sys.executable, "-m", "tests.simulation", *sys.argv[1:]]
        os.execve(sys.executable, command, {**os.environ, "PYTHONHASHSEED": "0"})  # noqa: S606  # itself
    sys.exit(main())
