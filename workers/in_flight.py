"""The events that a worker has in hand in this process, each of them once."""

import asyncio


class InFlightKeys:
    """Makes a second delivery of an event wait for the first to end."""

    def __init__(self) -> None:
        self._ended: dict[str, asyncio.Future[None] | None] = {}  # a future only where somebody waits

    async def acquire(self, event_id: str) -> None:
        """Return once nobody else has the event in hand; the time limit of whoever has it bounds the wait."""
        while event_id in self._ended:
            ended = self._ended[event_id] or asyncio.get_running_loop().create_future()
            self._ended[event_id] = ended
            await asyncio.wait([ended])  # one that is cancelled leaves it to the others
        self._ended[event_id] = None

    def release(self, event_id: str) -> None:
        ended = self._ended.pop(event_id)
        if ended is not None:
            ended.set_result(None)
