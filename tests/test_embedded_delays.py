"""Delays of the embedded queue, which neither a step of the wall clock nor a restart changes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from hookline.broker.embedded.broker import EmbeddedBroker
from hookline.schemas.broker import Again
from hookline.sqlite.database import Database
from tests.contract.installations import envelope, taken

ALL = ("#",)
DELAY_S = 60.0
HOUR_S = 3600.0


class Machine:
    """A wall clock and a monotonic clock that a test moves."""

    def __init__(self) -> None:
        self.wall_s = 1_700_000_000.0
        self.monotonic_s = 5000.0

    def passes(self, seconds: float) -> None:
        self.wall_s += seconds
        self.monotonic_s += seconds

    def restarts(self, after_s: float) -> None:
        """It was off for so long."""
        self.wall_s += after_s
        self.monotonic_s = 10.0

    @asynccontextmanager
    async def broker(self, folder: Path) -> AsyncIterator[EmbeddedBroker]:
        """Opened by a process that ends with the block."""
        database = await Database.open(folder / "x.db", lambda: self.wall_s, lambda: self.monotonic_s)
        broker = EmbeddedBroker(database)
        yield broker
        await broker.close()
        await database.close()


@pytest.fixture
def machine() -> Machine:
    return Machine()


async def delay_one(broker: EmbeddedBroker) -> None:
    queue = await broker.subscribe("q", ALL, 10)
    await broker.publisher.publish(envelope())
    (received,) = await taken(queue)
    await queue.settle(received, Again(DELAY_S, 2, "failed"))
    await queue.close()


async def is_ready(broker: EmbeddedBroker) -> bool:
    queue = await broker.subscribe("q", ALL, 10)
    try:
        (received,) = await taken(queue, within_s=1)
    except TimeoutError:
        return False
    finally:
        await queue.close()
    return received.attempt == 2


@pytest.mark.parametrize("step_s", [12 * HOUR_S, -12 * HOUR_S])
async def test_a_step_of_the_wall_clock_changes_no_delay(machine: Machine, tmp_path: Path, step_s: float) -> None:
    async with machine.broker(tmp_path) as broker:
        await delay_one(broker)
        machine.wall_s += step_s
        machine.passes(DELAY_S - 1)
        assert not await is_ready(broker)
        machine.passes(1)
        assert await is_ready(broker)


async def test_a_step_of_the_wall_clock_between_two_processes_changes_no_delay(
    machine: Machine, tmp_path: Path
) -> None:
    async with machine.broker(tmp_path) as broker:
        await delay_one(broker)
    machine.wall_s += 12 * HOUR_S
    machine.passes(DELAY_S - 1)
    async with machine.broker(tmp_path) as broker:
        assert not await is_ready(broker)
        machine.passes(1)
        assert await is_ready(broker)


async def test_a_delay_passes_while_no_process_runs(machine: Machine, tmp_path: Path) -> None:
    async with machine.broker(tmp_path) as broker:
        await delay_one(broker)
    machine.passes(DELAY_S)
    async with machine.broker(tmp_path) as broker:
        assert await is_ready(broker)


async def test_a_delay_passes_while_the_machine_is_off(machine: Machine, tmp_path: Path) -> None:
    async with machine.broker(tmp_path) as broker:
        await delay_one(broker)
    machine.restarts(after_s=DELAY_S / 2)
    async with machine.broker(tmp_path) as broker:
        machine.passes(DELAY_S / 2 - 1)
        assert not await is_ready(broker)
    machine.restarts(after_s=HOUR_S)
    async with machine.broker(tmp_path) as broker:
        assert await is_ready(broker)


async def test_a_machine_whose_clock_is_wrong_after_a_restart_waits_for_the_rest_of_a_delay(
    machine: Machine, tmp_path: Path
) -> None:
    async with machine.broker(tmp_path) as broker:
        await delay_one(broker)
    machine.restarts(after_s=-12 * HOUR_S)
    async with machine.broker(tmp_path) as first, machine.broker(tmp_path) as second:
        machine.passes(DELAY_S - 1)
        assert not any(await asyncio.gather(is_ready(first), is_ready(second)))
        machine.passes(1)
        assert await is_ready(second)
