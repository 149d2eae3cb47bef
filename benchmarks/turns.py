"""Measures programs by turns, so that what else the machine does meets all of them."""

from collections.abc import Callable
from typing import TypeVar

from benchmarks.figures import Measured, joined

Ready = TypeVar("Ready")


def by_turns(
    rounds: int, prepare: Callable[[], Ready], *programs: Callable[[Ready], Measured]
) -> tuple[list[Measured], ...]:
    """The rounds of each program. In a round each has two turns, the second in opposite order.

    A machine that slows down or recovers during a round is then as fast for one program as for the other. What
    `prepare` returns is for one turn of all programs.
    """
    results: tuple[list[Measured], ...] = tuple([] for _ in programs)
    for _ in range(rounds):
        turns = [_turn(prepare(), order) for order in (programs, programs[::-1])]
        for result, there, back in zip(results, turns[0], reversed(turns[1]), strict=True):
            result.append(joined(there, back))
    return results


def _turn(ready: Ready, programs: tuple[Callable[[Ready], Measured], ...]) -> list[Measured]:
    return [measure(ready) for measure in programs]
