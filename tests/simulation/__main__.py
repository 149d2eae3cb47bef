"""`python -m tests.simulation --seeds 0-4999`: runs schedules, and shows the first that breaks a promise."""

import argparse
import gc
import os
import sys
import time
from collections.abc import Sequence
from itertools import chain

from tests.simulation.mutants import MUTANTS
from tests.simulation.schedules import draw
from tests.simulation.shrink import shrunk
from tests.simulation.world import Verdict, simulate

_SAY_EVERY_S = 5.0
_COLLECT_EVERY = 10
"""Each run is garbage as a whole. That of a few runs is collected faster than that of many, which leaves the cache."""


def main() -> int:
    """0 if every promise was kept; 1 if one was broken, with `--mutant` if none was.

    With `--each-mutant`, 0 if each is found.
    """
    arguments = _parser().parse_args()
    if arguments.each_mutant:
        return _look_for_each_mutant()
    if arguments.mutant:
        MUTANTS[arguments.mutant].plant()
    found = _first_broken(arguments.seeds)
    if found is None:
        _say(f"seeds {_text(arguments.seeds)}: every promise was kept")
    else:
        _show(shrunk(found) if arguments.shrink else simulate(found.schedule, traced=True), arguments.mutant)
    return int((found is None) if arguments.mutant else (found is not None))


def _look_for_each_mutant() -> int:
    """Say by which of its seeds each mutant is found. Each has a fork of this process, and leaves the others alone."""
    missed = 0
    for name, mutant in sorted(MUTANTS.items()):
        child = os.fork()
        if child == 0:
            mutant.plant()
            found = _first_broken([mutant.seeds])
            _say(f"{name}: " + ("not found" if found is None else f"seed {found.schedule.seed}"))
            os._exit(found is None)
        missed += os.waitpid(child, 0)[1] != 0
    return int(missed > 0)


def _first_broken(ranges: Sequence[tuple[int, int]]) -> Verdict | None:
    said_s = time.monotonic()
    gc.disable()
    gc.freeze()  # what is imported stays, and need not be looked at again
    for seed in chain.from_iterable(range(first, last + 1) for first, last in ranges):
        verdict = simulate(draw(seed))
        if seed % _COLLECT_EVERY == 0:
            gc.collect()
        if verdict.rule is not None:
            return verdict
        if time.monotonic() - said_s >= _SAY_EVERY_S:
            said_s = time.monotonic()
            _say(f"up to seed {seed} of {_text(ranges)}: every promise was kept")
    return None


def _show(verdict: Verdict, mutant: str | None) -> None:
    seed = verdict.schedule.seed
    _say(str(verdict.schedule))
    for line in verdict.trace:
        _say(line)
    _say(f"Broken after {verdict.virtual_s:.1f} s: {verdict.detail}")
    planted = f" --mutant {mutant}" if mutant else ""
    _say(f"Again: python -m tests.simulation --seeds {seed}-{seed}{planted}")


def _seeds(text: str) -> list[tuple[int, int]]:
    ends = [part.partition("-") for part in text.split(",")]
    return [(int(first), int(last or first)) for first, _, last in ends]


def _text(ranges: Sequence[tuple[int, int]]) -> str:
    return ",".join(f"{first}-{last}" for first, last in ranges)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=_seeds, default="0-4999", metavar="A-B,C", help="by default 0-4999")
    parser.add_argument("--mutant", choices=sorted(MUTANTS), help="take out one mend: the seeds have to find it")
    parser.add_argument("--each-mutant", action="store_true", help="look for each mutant in its own seeds")
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
