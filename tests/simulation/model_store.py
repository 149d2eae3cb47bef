"""The reference store: one process at the model server.

What is real: the claim coalescer, the request batcher, the heartbeat, `decide`, and a function's transaction in
PostgreSQL with its limits and its judgement of errors. The contract suites run against this store, too.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import TypeVar

from hookline.schemas.errors import Unreachable
from hookline.workers.store import Assignment, Claim
from hookline.workers.stores import heartbeat
from hookline.workers.stores.assignment import decide
from hookline.workers.stores.claim_coalescer import CLAIM_LOST, ClaimCoalescer, ClaimRelease, ClaimRequest, Completion
from hookline.workers.stores.heartbeat import Heartbeat
from hookline.workers.stores.request_batcher import RequestBatcher
from tests.simulation.network import NetworkPath
from tests.simulation.store_server import ModelServer

T = TypeVar("T")
TIMEOUT_S = 5.0


class ModelHeartbeat(Heartbeat):
    """The heartbeat with a task for its thread. `blocked_s` is how long the last one waited in vain."""

    def __init__(self, beat: Callable[[], None], end: Callable[[], None]) -> None:
        super().__init__(beat, end)
        self.blocked_s = 0.0
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._beat()
        self._task = asyncio.create_task(self._keep_beating())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        self._end()

    async def _keep_beating(self) -> None:
        while True:
            await asyncio.sleep(heartbeat.BEAT_S)
            self._beat_once()
            if self.blocked_s:
                await asyncio.sleep(self.blocked_s)


class ModelStore:
    """Implements `Store`: one process at the model server."""

    def __init__(self, server: ModelServer, path: NetworkPath, owner: str) -> None:
        self.server = server
        self.path = path
        self.owner = owner
        self._renewed_at = 0.0
        self._heartbeat = ModelHeartbeat(self._beat, self._end)
        self._claims = RequestBatcher[ClaimRequest, Claim](self._claim, path.timeout_s, groups=2, much=2)
        self._completions = RequestBatcher[Completion, None](self._finish, path.timeout_s, groups=2, much=2)
        self._coalescer = ClaimCoalescer(self._claims.ask_all, self._completions.ask_all, self._release)
        self.claim, self.finish, self.release = self._coalescer.claim, self._coalescer.finish, self._coalescer.release
        self.claim_all, self.finish_all = self._coalescer.claim_all, self._coalescer.finish_all
        self.holds = self._coalescer.holds

    async def open(self) -> None:
        """Raises Unreachable."""
        await self._heartbeat.start()

    async def close(self) -> None:
        await self._claims.close()
        await self._coalescer.close()
        await self._completions.close()
        await self._heartbeat.stop()

    async def mark_exclusive(self, queue: str, event_id: str) -> None:
        number = self._coalescer.number(queue, event_id)
        if not await self.path.ask(lambda: self.server.mark_exclusive(self.owner, (queue, event_id), number)):
            raise Unreachable(CLAIM_LOST)

    async def start_anew(self, queue: str, event_id: str, copy: int) -> None:
        number = self._coalescer.number(queue, event_id)
        if not await self.path.ask(lambda: self.server.start_anew(self.owner, (queue, event_id), number, copy)):
            raise Unreachable(CLAIM_LOST)

    async def note_attempt(self, queue: str, event_id: str, *, failures: int, tried: int) -> bool:
        key, number = (queue, event_id), self._coalescer.number(queue, event_id)
        return await self.path.ask(lambda: self.server.note_attempt(self.owner, key, number, failures, tried))

    async def forget(self, queue: str, event_ids: Sequence[str]) -> None:
        await self.path.ask(lambda: self.server.forget((queue, each) for each in event_ids))

    async def assign(self, queue: str, partitions: Sequence[str], consuming: Collection[str]) -> Assignment:
        """In two steps, as in Redis and PostgreSQL: what was read may change before it is written."""
        state = await self.path.ask(lambda: self.server.ask(queue, self.owner))
        decision = decide(state, partitions, self.owner, consuming)
        if not (decision.taken or decision.reported):
            return decision.assignment
        mine = decision.assignment.partitions - decision.taken
        taken = await self.path.ask(lambda: self.server.take(queue, self.owner, state, decision))
        return Assignment(mine | taken, decision.assignment.surplus)

    async def revoke(self, queue: str, partition: str) -> None:
        await self.path.ask(lambda: self.server.revoke(queue, self.owner, partition))

    async def decline(self, queue: str, partition: str) -> None:
        await self.path.ask(lambda: self.server.decline(queue, self.owner, partition))

    def _claim(self, requests: list[ClaimRequest]) -> Awaitable[list[Claim]]:
        return self.path.ask(lambda: self.server.claim(self.owner, requests))

    async def _finish(self, completions: list[Completion]) -> list[None]:
        await self.path.ask(lambda: self.server.finish(completions))
        return [None] * len(completions)

    def _release(self, release: ClaimRelease) -> Awaitable[None]:
        return self.path.ask(lambda: self.server.release(self.owner, release))

    def _beat(self) -> None:
        began_s, renewed_at, known = time.monotonic(), self._renewed_at, self._coalescer.named()
        value = self._at_once(lambda: self.server.beat(self.owner, renewed_at, known))
        self._renewed_at = value
        self._coalescer.renewed(began_s, value - renewed_at)

    def _end(self) -> None:
        self.path.ask_now(lambda: self.server.end(self.owner))

    def _at_once(self, effect: Callable[[], T]) -> T:
        value, self._heartbeat.blocked_s = self.path.ask_now(effect)
        if value is None:
            raise Unreachable("the model server did not answer the heartbeat")
        return value
