"""What should exist on RabbitMQ for these workers, and how what exists differs from it."""

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Protocol

from aiormq.abc import AbstractConnection
from aiormq.exceptions import ChannelNotFoundEntity

from hookline.broker.rabbitmq.connection import bounded, open_channel
from hookline.broker.rabbitmq.names import bound_name
from hookline.broker.rabbitmq.topology.declaring import Declaration, DurableExchange, QueueBinding, Refused, declare_all
from hookline.broker.rabbitmq.topology.exchanges import declarations_of_exchanges
from hookline.broker.rabbitmq.topology.worker_queues import WorkerQueues
from hookline.schemas import topics
from hookline.schemas.broker import Retention
from hookline.schemas.errors import SettingsError, Unreachable


class Wanting(Protocol):
    """A worker, as far as its queues depend on it."""

    @property
    def queue(self) -> str: ...

    @property
    def patterns(self) -> tuple[str, ...]: ...

    @property
    def order(self) -> object | None: ...


@dataclass(frozen=True, slots=True)
class Difference:
    """Something that is missing, or exists in another form. `text` says what to do."""

    name: str
    text: str
    is_missing: bool


def wanted(workers: Iterable[Wanting], retention: Retention) -> list[Declaration]:
    """Everything that the processes declare, in the order in which they do."""
    found: list[Declaration] = [*declarations_of_exchanges(retention)]
    for worker in workers:
        queues = WorkerQueues(worker.queue, worker.patterns, by_partition=worker.order is not None)
        found += queues.declarations
        found += [QueueBinding(bound_name(worker.queue, key), topics.EXCHANGE, key) for key in sorted(queues.keys)]
    return found


async def compare(
    connection: AbstractConnection,
    declarations: Sequence[Declaration],
    timeout_s: float,
    bound: AbstractSet[tuple[str, str]] | None = None,
) -> list[Difference]:
    """What differs. Something that exists is declared again in the wanted form, which changes nothing.

    AMQP shows no bindings: they are compared with `bound`, queues with their keys, if those are known. Raises
    Unreachable.
    """
    found = []
    for each in declarations:
        if isinstance(each, QueueBinding):
            if bound is not None and each.exchange == topics.EXCHANGE and (each.name, each.key) not in bound:
                text = f"{each.name} is not bound to {each.key}; its worker binds it when it starts"
                found.append(Difference(each.name, text, is_missing=True))
            continue
        difference = await _compare(connection, each, timeout_s)
        if difference is not None:
            found.append(difference)
    return found


async def _compare(connection: AbstractConnection, each: Declaration, timeout_s: float) -> Difference | None:
    try:
        async with bounded(timeout_s, f"looking at {each.name}"), open_channel(connection, timeout_s) as channel:
            await each.look(channel)
    except Unreachable as error:
        if not isinstance(error.__cause__, ChannelNotFoundEntity):
            raise
        kind = "exchange" if isinstance(each, DurableExchange) else "queue"
        text = f"the {kind} {each.name} is missing; `hookline topology apply` makes it, or a start, by a user that may"
        return Difference(each.name, text, is_missing=True)
    try:
        await declare_all(connection, [each], timeout_s, each.name)
    except Refused:
        return None  # it is there, and this user need not declare it
    except SettingsError as error:
        return Difference(each.name, str(error), is_missing=False)
    return None
