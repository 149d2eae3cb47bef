"""Makes a schedule that fails smaller, while it breaks the same promise."""

from collections.abc import Iterator
from dataclasses import replace
from typing import TypeVar

from tests.simulation.schedules import Schedule
from tests.simulation.world import Verdict, simulate

T = TypeVar("T")


def shrunk(verdict: Verdict) -> Verdict:
    """The verdict of a schedule with fewer faults and callbacks. It has its trace."""
    schedule = verdict.schedule
    is_smaller = True
    while is_smaller:
        is_smaller = False
        for smaller in _smaller(schedule):
            if simulate(smaller).rule == verdict.rule:
                schedule, is_smaller = smaller, True
                break
    return simulate(schedule, traced=True)


def _smaller(schedule: Schedule) -> Iterator[Schedule]:
    """Without one fault, without half of the callbacks, without one callback."""
    for number in range(len(schedule.faults)):
        yield replace(schedule, faults=_without(schedule.faults, number))
    half = len(schedule.callbacks) // 2
    if half:
        yield replace(schedule, callbacks=schedule.callbacks[half:])
        yield replace(schedule, callbacks=schedule.callbacks[:half])
    for number in range(len(schedule.callbacks)):
        yield replace(schedule, callbacks=_without(schedule.callbacks, number))


def _without(items: tuple[T, ...], number: int) -> tuple[T, ...]:
    return (*items[:number], *items[number + 1 :])
