"""How fast a spool drains, and how long live events take meanwhile, beside a broker of known speed in virtual time."""

import asyncio
import logging
import random
from collections.abc import Iterator

import pytest

from hookline.aio.completion import Completion
from hookline.broker.spool.journal import Journal
from hookline.broker.spool.publisher import SpoolingPublisher
from hookline.broker.spool.spool import Spool, SpoolLimits
from hookline.schemas.envelope import Envelope
from hookline.schemas.errors import NotDurable
from tests.contract.installations import envelope
from tests.simulation.ingress_loop import IngressLoop, virtual_time
from tests.simulation.ingress_schedules import FOLDER, VirtualLane, World

SPOOLED = 1000
ROOMS = 100
LIVE_EVERY_S = 0.01
WAITS_S = 0.07
"""How long a live event may wait behind spooled ones."""

MAX_DRAINING = 500


class SteadyBroker:
    """Implements Primary: takes one event after the other, so many in a second, and confirms each a little later."""

    def __init__(self, per_s: float, confirm_s: float) -> None:
        self.is_away = True
        self.reason = ""
        self._confirm_s = confirm_s
        self._takes_s = 1 / per_s
        self._free_s = 0.0
        self._loop = asyncio.get_running_loop()

    def begin(self, envelope: Envelope) -> Completion:  # noqa: ARG002  all are alike
        if self.is_away:
            raise NotDurable("away")
        confirmed = Completion()
        self._free_s = max(self._loop.time(), self._free_s) + self._takes_s
        self._loop.call_at(self._free_s + self._confirm_s, confirmed.end, None)
        return confirmed


class Drained:
    """How long everything took, and how long each live event did."""

    def __init__(self, per_s: float, confirm_s: float) -> None:
        self.seconds = 0.0
        self.live_s: list[float] = []
        self._broker = SteadyBroker(per_s, confirm_s)
        self._loop = asyncio.get_running_loop()
        world = World(random.Random(1))  # noqa: S311  # no secret
        lanes = VirtualLane(world), VirtualLane(world)
        self._spool = Spool(Journal(FOLDER, world.disk), SpoolLimits(), *lanes, self._loop.time)
        self._publisher = SpoolingPublisher(self._broker, self._spool, after_s=1.0, max_draining=MAX_DRAINING)

    async def run(self) -> None:
        await self._publisher.open()
        await asyncio.gather(*map(self._publisher.publish, _spooled()))
        self._broker.is_away = False
        began_s = self._loop.time()
        live: list[asyncio.Task[None]] = []
        while self._spool.events:
            live.append(asyncio.create_task(self._ask(len(live))))
            await asyncio.sleep(LIVE_EVERY_S)
        self.seconds = self._loop.time() - began_s
        await asyncio.gather(*live)

    async def _ask(self, number: int) -> None:
        began_s = self._loop.time()
        await self._publisher.publish(envelope(subject=f"live-{number}"))
        self.live_s.append(self._loop.time() - began_s)


def _spooled() -> Iterator[Envelope]:
    return (envelope(subject=f"room-{number % ROOMS}") for number in range(SPOOLED))


@pytest.mark.parametrize(
    ("per_s", "confirm_s"), [(1000, 0.004), (4000, 0.004), (1500, 0.03)], ids=["slow", "quick", "far away"]
)
def test_a_spool_drains_at_half_the_speed_of_the_broker_and_live_events_pass_it(per_s: float, confirm_s: float) -> None:
    loop = IngressLoop()  # type: ignore[abstract]  # it has what the spool uses
    logging.getLogger("hookline.spool").setLevel(logging.CRITICAL)
    try:
        with virtual_time(loop, 1):
            asyncio._set_running_loop(loop)  # noqa: SLF001  futures are made before it runs
            drained = Drained(per_s, confirm_s)
            task = loop.create_task(drained.run())
            loop.run_until(task.done)
            task.result()
    finally:
        logging.getLogger("hookline.spool").setLevel(logging.NOTSET)
    live_s = sorted(drained.live_s)
    assert SPOOLED / drained.seconds >= per_s / 2
    assert live_s[int(len(live_s) * 0.99)] <= confirm_s + WAITS_S
