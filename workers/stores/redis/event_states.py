"""What queues have done with an event, in Redis."""

from collections.abc import Sequence
from typing import Any

import redis.asyncio

from hookline.workers.event_states import EventState, claimed_or_tried
from hookline.workers.stores.redis.client import Client
from hookline.workers.stores.redis.store import claim_key, handled_key


class RedisEventStates:
    """Implements `EventStates`. Redis keeps no time of the end of an event."""

    def __init__(self, url: str, timeout_s: float) -> None:
        self._client = Client(url, timeout_s)

    async def close(self) -> None:
        await self._client.close()

    async def of(self, event_id: str, queues: Sequence[str]) -> Sequence[EventState]:
        async def work(server: "redis.asyncio.Redis") -> list[EventState]:
            pipeline: Any = server.pipeline(transaction=False)
            for queue in queues:
                pipeline.exists(handled_key(queue, event_id))
                pipeline.hmget(claim_key(queue, event_id), "owner", "failures", "deaths")
            answers = await pipeline.execute()
            return [_state(*each) for each in zip(queues, answers[::2], answers[1::2], strict=True)]

        return await self._client.run(work)


def _state(queue: str, finished: int, claim: Sequence[str | None]) -> EventState:
    if finished:
        return EventState(queue=queue, state="finished")
    owner, failures, deaths = claim
    if owner is None:
        return EventState(queue=queue, state="unknown")
    return claimed_or_tried(queue, owner, int(failures or 0), int(deaths or 0))
