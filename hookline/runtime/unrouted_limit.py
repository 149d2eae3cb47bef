"""Keeps the unrouted events within their limit: nobody may ever look at them, and a disk is full at some time."""

import asyncio
import logging
import random

from hookline.schemas.broker import Broker
from hookline.schemas.errors import SettingsError, Unreachable
from hookline.schemas.observer import Observer

log = logging.getLogger("hookline.broker")

_LOOK_EVERY_S = 60.0


class UnroutedLimit:
    """Looks every minute, in each process: any of them may be the only one that runs."""

    def __init__(self, broker: Broker, max_events: int, observer: Observer) -> None:
        self._broker = broker
        self._max_events = max_events
        self._observer = observer
        self._is_said = False

    async def keep(self) -> None:
        """Look until cancelled. What cannot be dropped now is dropped later."""
        while True:
            await asyncio.sleep(_LOOK_EVERY_S * random.uniform(0.75, 1.25))  # noqa: S311  processes take turns
            try:
                await self.look()
            except SettingsError as error:
                if not self._is_said:
                    log.warning("more than unrouted.max_events are kept: %s", error)
                self._is_said = True
            except Unreachable as error:
                log.debug("the unrouted events cannot be looked at: %s", error)

    async def look(self) -> None:
        """Drop what is too much. Raises SettingsError or Unreachable."""
        if await self._broker.queue_states.unrouted() <= self._max_events:
            return
        total = 0
        try:
            while dropped := await self._broker.dead_letters.drop_unrouted(self._max_events):
                self._observer.unrouted_dropped(dropped)
                total += dropped
        finally:
            if total:
                log.warning("dropped the %d oldest unrouted events: more than unrouted.max_events", total)
