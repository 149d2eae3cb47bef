"""The end of what a pool has in flight when its process stops."""

import asyncio
from collections.abc import Callable, Collection
from typing import NamedTuple

from hookline.workers.running_calls import OVERDUE_S

_LOOK_S = 0.2
_SERVERS_S = 2.0
_CANCELLED_S = 0.5


class Drained(NamedTuple):
    """How the draining of tasks has ended."""

    is_silent: bool
    """Whether tasks waited for a silent server only."""
    stuck: "Collection[asyncio.Task[None]]"
    """Those that run on although they were cancelled."""


async def drain(tasks: Collection["asyncio.Task[None]"], grace_s: float, calls: Callable[[], bool]) -> Drained:
    """Wait until these tasks end, and cancel those that do not.

    While a function of a worker is called, they have `grace_s` seconds. Otherwise they wait for the store or the broker
    only, which may answer nothing: they are cancelled once none of them has ended for two seconds.
    """
    late = await _until_silent(set(tasks), grace_s, calls)
    for task in late:
        task.cancel()
    is_silent = bool(late) and not calls()
    if late:  # a cancelled call may clean up; a cancelled request to a silent server has nothing to do
        _, late = await asyncio.wait(late, timeout=_CANCELLED_S if is_silent else OVERDUE_S)
    return Drained(is_silent, late)


async def _until_silent(
    tasks: "set[asyncio.Task[None]]", grace_s: float, calls: Callable[[], bool]
) -> "set[asyncio.Task[None]]":
    """The tasks that have not ended in time."""
    loop = asyncio.get_running_loop()
    until_s = loop.time() + grace_s
    silent_s = min(loop.time() + _SERVERS_S, until_s)
    while tasks and loop.time() < silent_s:
        ended, tasks = await asyncio.wait(tasks, timeout=min(silent_s - loop.time(), _LOOK_S))
        if ended or calls():
            silent_s = min(loop.time() + _SERVERS_S, until_s)
    return tasks
