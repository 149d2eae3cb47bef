"""Retry queues: a message waits in one for its delay, then returns to the worker's queue."""

import asyncio

from aiormq.abc import AbstractConnection

from hookline.broker.rabbitmq.names import retry_name
from hookline.broker.rabbitmq.topology.arguments import dead_lettering_to
from hookline.broker.rabbitmq.topology.declaring import DurableQueue, declare_all
from hookline.broker.rabbitmq.topology.queue_depth import depths
from hookline.schemas import topics

_MAX_TTL_MS = 2**32 - 1
_STEPS = (10, 12, 15, 18, 20, 25, 30, 36, 45, 60, 75, 90, 100)
_MIN_STEP_MS = 100
_AT_A_TIME = 8


async def declare_retry(connection: AbstractConnection, queue: str, delay_ms: int, timeout_s: float) -> str:
    """Declare the queue in which messages wait for `delay_ms` and then return to the worker's queue; its name."""
    name = retry_name(queue, delay_ms)
    arguments = {**dead_lettering_to(topics.queue_name(queue)), "x-message-ttl": delay_ms}
    await declare_all(connection, [DurableQueue(name, arguments)], timeout_s, name)
    return name


async def retry_depths(connection: AbstractConnection, queue: str, timeout_s: float) -> dict[str, int]:
    """The retry queues of a worker's queue, the shortest delay first, with the numbers of their messages."""
    names = [retry_name(queue, step_ms) for step_ms in delay_steps_ms()]
    parts = [names[first::_AT_A_TIME] for first in range(_AT_A_TIME)]  # most are missing, which costs a channel
    found = await asyncio.gather(*(depths(connection, part, timeout_s) for part in parts))
    ready = {name: depth.messages for part in found for name, depth in part.items()}
    return {name: ready[name] for name in names if name in ready}


def delay_step_ms(delay_s: float) -> int:
    """A delay rounded up to one of twelve steps in a decade, since each delay in use has a queue of its own.

    The steps include common delays: 10, 12, 15, 20, 30, 60, 90 seconds, five minutes, an hour. None is below 100 ms or
    above 49 days.
    """
    delay_ms = min(delay_s * 1000, _MAX_TTL_MS)
    scale = _MIN_STEP_MS // _STEPS[0]
    while _STEPS[-1] * scale < delay_ms:
        scale *= 10
    return min(next(step * scale for step in _STEPS if step * scale >= delay_ms), _MAX_TTL_MS)


def delay_steps_ms() -> list[int]:
    """All steps in use, up to the longest delay, of which each queue may have a retry queue."""
    scales = [10**power for power in range(1, 9)]
    steps = {step * scale for scale in scales for step in _STEPS if step * scale < _MAX_TTL_MS}
    return [*sorted(steps), _MAX_TTL_MS]
