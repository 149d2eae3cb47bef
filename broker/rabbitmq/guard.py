"""The topology guard: looks every 10 s after what this process relies on in RabbitMQ, and mends what it may.

AMQP shows neither bindings nor policies. A binding is made again, which changes nothing if it is there. Where the
settings name the management API, only those that it does not show are made again. Of a policy that deletes messages
only the effect can be seen: what a TTL takes from a worker's queue is a dead letter with the reason `broker`, and a
queue of dead letters that `expires` has deleted is missing at the next look.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import suppress
from typing import Any, TypeAlias

from aiormq.abc import AbstractConnection

from hookline.aio.notices import Notice
from hookline.aio.pulse import Pulse
from hookline.broker.rabbitmq.connection import Connection
from hookline.broker.rabbitmq.management import Management
from hookline.broker.rabbitmq.names import bound_name
from hookline.broker.rabbitmq.topology.bindings import RENEW_EVERY_S, Wishes, bind
from hookline.broker.rabbitmq.topology.declaring import Declaration, QueueBinding, Refused, declare_all
from hookline.broker.rabbitmq.topology.queue_depth import exists
from hookline.broker.rabbitmq.topology.worker_queues import WorkerQueues, declare_worker
from hookline.broker.rabbitmq.wire.connection_state import is_blocked
from hookline.schemas import topics
from hookline.schemas.errors import SettingsError, Unreachable
from hookline.schemas.observer import NOBODY, Observer

log = logging.getLogger("hookline.broker")

LOOK_EVERY_S = 10.0
_CLOSE_S = 5.0

Check: TypeAlias = Callable[[AbstractConnection], Awaitable[None]]
"""Declares what is missing. Raises SettingsError for what it may not mend, or Unreachable."""


class Guard:
    """Runs the checks of one process on its publishing connection, so that a note never blocks a consumer."""

    def __init__(self, connection: Connection, observer: Observer = NOBODY) -> None:
        self._connection = connection
        self._observer = observer
        self._checks: dict[str, Check] = {}
        self._faults: dict[str, str] = {}
        self._soon = Pulse()
        self._has_looked = False
        self._task: asyncio.Task[None] | None = None

    def fault(self, name: str) -> str | None:
        """What is wrong with something and cannot be mended; None if nothing is."""
        return self._faults.get(name)

    @property
    def faults(self) -> list[str]:
        return list(self._faults.values())

    def watch(self, name: str, check: Check) -> None:
        """Run a check from now on, instead of an earlier one of this name."""
        self._checks[name] = check

    def forget(self, name: str, check: Check) -> None:
        """Stop running a check, unless another one has taken its place."""
        if self._checks.get(name) == check:
            del self._checks[name]
            self._faults.pop(name, None)

    def look_soon(self) -> None:
        """Do not wait for the next look: something was lost."""
        self._soon.send()

    def open(self) -> None:
        """Begin. What is watched has just been declared, so the first look can wait."""
        self._task = asyncio.create_task(self._connection.keep(self._session))

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task], timeout=_CLOSE_S)  # it may wait for a server that answers nothing

    async def _session(self, connection: AbstractConnection) -> None:
        closing: asyncio.Future[Any] = connection.closing
        closing.add_done_callback(lambda _: self._soon.send())
        while not closing.done():
            if self._has_looked:
                await self._look(connection)
            self._has_looked = True
            await self._soon.wait(LOOK_EVERY_S)

    async def _look(self, connection: AbstractConnection) -> None:
        for name, check in list(self._checks.items()):
            if is_blocked(connection):  # nothing is answered until the alarm is over
                return
            try:
                await check(connection)
            except SettingsError as error:
                self._note(name, check, str(error))
            except Unreachable as error:
                log.debug("the topology guard cannot look at %s: %s", name, error)
            else:
                self._note(name, check, None)

    def _note(self, name: str, check: Check, fault: str | None) -> None:
        """Say what is wrong once, and again when it changes. Every look is counted, so that an alert lasts as long."""
        if self._checks.get(name) != check:
            return
        self._observer.guard_found(fault)
        if fault == self._faults.get(name):
            return
        if fault is None:
            del self._faults[name]
            log.info("the topology guard: %s is as it should be again", name)
        else:
            self._faults[name] = fault
            log.warning("the topology guard: %s", fault)


class WorkerTopology:
    """Declares the queues and bindings of one worker, and looks after them."""

    def __init__(
        self,
        queues: WorkerQueues,
        timeout_s: float,
        wishes: Wishes,
        management: Management | None = None,
        observer: Observer = NOBODY,
    ) -> None:
        self._queues = queues
        self._management = management
        self._observer = observer
        self._unasked = Notice()
        self._name = topics.queue_name(queues.queue)
        self._timeout_s = timeout_s
        self._wishes = wishes
        self._forbidden: set[Declaration] = set()
        self._others: Mapping[str, str] = {}
        self._may_note = True
        self._renewed_s = 0.0

    async def declare(self, connection: AbstractConnection) -> None:
        """At the start, and after the queue was deleted. Raises Unreachable or SettingsError."""
        await declare_worker(connection, self._queues, self._timeout_s)
        await self._bind_and_note(connection)

    async def check(self, connection: AbstractConnection) -> None:
        """Implements Check. A queue in another form gets its bindings, too: its events would be nowhere else."""
        queues, dead = self._queues, topics.dead_name(self._queues.queue)
        if not await exists(connection, dead, self._timeout_s):
            log.error(
                "%s was deleted from RabbitMQ, with the dead letters in it. If nobody has deleted it, look for a "
                "policy with `expires`: rabbitmqctl list_policies",
                dead,
            )
        missing = await self._missing_keys()
        try:
            await declare_all(connection, queues.declarations, self._timeout_s, self._name, forbidden=self._forbidden)
        except SettingsError:
            with suppress(Unreachable):
                await self._bind_again(connection)
            raise
        if self._may_note and time.monotonic() - self._renewed_s >= RENEW_EVERY_S:
            await self._bind_and_note(connection)
        elif missing is None or missing:  # not one that is removed just now: the next look finds and reports it
            await self._bind_again(connection)
        if missing:
            self._report_missing(missing)

    async def _missing_keys(self) -> Collection[str] | None:
        """The binding keys that another tool has removed since the last look; None if nobody shows them."""
        if self._management is None:
            return None
        try:
            found = await self._management.bindings()
        except Unreachable as error:
            if self._unasked.is_due(str(error)):
                log.warning("%s: nobody can tell whether bindings were removed: %s", self._name, error)
            return None
        self._unasked.forget()
        return sorted(key for key in self._queues.keys if (bound_name(self._queues.queue, key), key) not in found)

    def _report_missing(self, keys: Collection[str]) -> None:
        self._observer.bindings_restored(self._queues.queue, len(keys))
        log.error(
            "%s: another tool has removed bindings within the last %g s, and they are made again: %s. Events that came "
            "meanwhile are not in it: `hookline replay` feeds them, if [history] is enabled",
            self._name,
            LOOK_EVERY_S,
            ", ".join(keys),
        )

    async def _bind_and_note(self, connection: AbstractConnection) -> None:
        queues = self._queues
        try:
            others = await bind(connection, queues.queue, queues.keys, self._timeout_s, self._wishes)
        except Refused as refused:
            self._may_note = False
            log.warning("%s: bindings that nobody wants any more are not removed: %s", self._name, refused)
            await self._bind_again(connection)
            return
        self._renewed_s = time.monotonic()
        if others.keys() - self._others.keys():
            text = ", ".join(f"{key} (last wanted by {process})" for key, process in sorted(others.items()))
            log.warning("%s is also bound to what this process does not want: %s", self._name, text)
        self._others = others

    async def _bind_again(self, connection: AbstractConnection) -> None:
        queue, before = self._queues.queue, len(self._forbidden)
        bindings = [QueueBinding(bound_name(queue, key), topics.EXCHANGE, key) for key in sorted(self._queues.keys)]
        await declare_all(connection, bindings, self._timeout_s, self._name, forbidden=self._forbidden)
        if not self._forbidden.isdisjoint(bindings) and len(self._forbidden) > before:
            log.warning("%s: this user may not bind it, so nobody can tell whether its bindings are there", self._name)
