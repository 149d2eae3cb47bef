"""The bindings of a worker's queue. AMQP cannot list them, so a note beside the queue keeps them.

The note is a JSON object: for each binding key the process that wanted it last, and when (seconds since 1970). A
process renews what it wants while it runs. It unbinds what it does not want once nobody has renewed that for a while,
so two versions of a worker can run side by side. Older versions wrote a list of keys, and read the object as one.
"""

import json
import os
import socket
import time
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any, NamedTuple, TypeAlias
from uuid import uuid4

from aiormq.abc import AbstractChannel, AbstractConnection

from hookline.broker.rabbitmq.names import bindings_name, bound_name
from hookline.broker.rabbitmq.topology.arguments import QUORUM
from hookline.broker.rabbitmq.topology.declaring import declaring
from hookline.broker.rabbitmq.topology.lock import locked
from hookline.broker.rabbitmq.topology.notes import publish_note
from hookline.broker.rabbitmq.topology.queue_depth import exists
from hookline.schemas import topics
from hookline.schemas.errors import UnknownQueue

RENEW_EVERY_S = 60.0
ABANDONED_S = 5 * RENEW_EVERY_S
_MOST_FROM_A_NOTE = 0.6  # of that; in the rest a process that runs renews its wishes
_AWAY_S = 120.0
_ONE_NOTE = {**QUORUM, "x-max-length": 1}

Wish: TypeAlias = tuple[str, float]
"""The process that wanted a binding last, and when."""


class _Sight(NamedTuple):
    """A wish that was read in a note: since when it has been the same, and when it was read last."""

    wish: Wish | None
    since_s: float
    read_s: float


class Wishes:
    """What this process wants, and what it has seen others want.

    A wish is abandoned if it does not change for five minutes. The time in a note says how long that has been when it
    is first seen. The clocks of two machines may differ, so at least two minutes have to pass by this process's own
    clock. While RabbitMQ is away nobody renews anything, so time in which this process read no note does not count.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, now: Callable[[], float] = time.time) -> None:
        self._me = f"{socket.gethostname()}:{os.getpid()}:{uuid4().hex[:6]}"
        self._clock = clock
        self._now = now
        self._seen: dict[tuple[str, str], _Sight] = {}

    def of_this_process(self) -> Wish:
        return self._me, round(self._now(), 3)

    def is_abandoned(self, queue: str, key: str, wish: Wish | None) -> bool:
        """Whether a binding that this process does not want may be removed."""
        if wish is not None and wish[0] == self._me:
            return True
        now_s = self._clock()
        since_s = self._since_s(self._seen.get((queue, key)), wish, now_s)
        self._seen[queue, key] = _Sight(wish, since_s, now_s)
        return now_s - since_s >= ABANDONED_S

    def _since_s(self, before: _Sight | None, wish: Wish | None, now_s: float) -> float:
        if before is None:
            return now_s if wish is None else now_s - min(abs(self._now() - wish[1]), _MOST_FROM_A_NOTE * ABANDONED_S)
        if before.wish != wish or now_s - before.read_s > _AWAY_S:
            return now_s
        return before.since_s


async def bind(
    connection: AbstractConnection, queue: str, wanted: AbstractSet[str], timeout_s: float, wishes: Wishes
) -> Mapping[str, str]:
    """Bind a worker's queue, or its partitions, to these keys, and note that this process wants them.

    Returns the keys that it is bound to besides, each with the host and process that wanted it last. Those that were
    abandoned are unbound. Raises Refused if this user may not do that.
    """
    name = topics.queue_name(queue)
    async with locked(connection, queue, timeout_s), declaring(connection, timeout_s, name, confirms=True) as channel:
        kept = await _bind_on(channel, queue, wanted, wishes)
    return {key: _process(wish) for key, wish in kept.items()}


async def bound_to(connection: AbstractConnection, queue: str, timeout_s: float) -> frozenset[str]:
    """The binding keys of a worker's queue. Raises UnknownQueue if there is no such queue."""
    if not await exists(connection, topics.queue_name(queue), timeout_s):
        raise UnknownQueue(queue)
    note_queue = bindings_name(queue)
    async with (
        locked(connection, queue, timeout_s),
        declaring(connection, timeout_s, note_queue, confirms=True) as channel,
    ):
        note = await channel.basic_get(note_queue)
        wishes = _read(note.body)
        if note.delivery_tag is not None:
            # A fresh copy: RabbitMQ 4.0 and later drop a message that was looked at too often.
            await _write(channel, note_queue, wishes)
            await channel.basic_ack(note.delivery_tag)
    return frozenset(wishes)


async def _bind_on(
    channel: AbstractChannel, queue: str, wanted: AbstractSet[str], wishes: Wishes
) -> Mapping[str, Wish | None]:
    """Add and remove bindings; what is bound besides.

    The note is written before the first binding is added and again after the last is removed. After a crash in between
    it names too many keys, never too few.
    """
    note_queue = bindings_name(queue)
    await channel.queue_declare(note_queue, durable=True, arguments=_ONE_NOTE)
    note = await channel.basic_get(note_queue)
    before = _read(note.body)
    mine = dict.fromkeys(sorted(wanted), wishes.of_this_process())
    others = {key: wish for key, wish in before.items() if key not in wanted}
    kept = {key: wish for key, wish in others.items() if not wishes.is_abandoned(queue, key, wish)}
    if not wanted <= before.keys():
        await _write(channel, note_queue, {**before, **mine})
    for key in mine:
        await channel.queue_bind(bound_name(queue, key), topics.EXCHANGE, key)
    for key in sorted(others.keys() - kept.keys()):
        await channel.queue_unbind(bound_name(queue, key), topics.EXCHANGE, key)
    await _write(channel, note_queue, {**kept, **mine})
    if note.delivery_tag is not None:
        await channel.basic_ack(note.delivery_tag)
    return kept


async def _write(channel: AbstractChannel, note_queue: str, wishes: Mapping[str, Wish | None]) -> None:
    await publish_note(channel, note_queue, json.dumps(wishes, sort_keys=True).encode(), "application/json")


def _read(body: bytes) -> dict[str, Wish | None]:
    """Empty for a note that cannot be read."""
    try:
        note = json.loads(body) if body else {}
    except ValueError:
        return {}
    if isinstance(note, dict):
        return {str(key): _wish(value) for key, value in note.items()}
    return {str(key): None for key in note} if isinstance(note, list) else {}


def _wish(value: Any) -> Wish | None:
    match value:
        case [str(process), float() | int() as renewed_at]:
            return process, float(renewed_at)
        case _:
            return None


def _process(wish: Wish | None) -> str:
    """Host and process id, for a log line."""
    return "an unknown process" if wish is None else wish[0].rpartition(":")[0]
