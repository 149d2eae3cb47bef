"""Unrouted events are kept within their limit, on both brokers; what is dropped is logged and counted."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from hookline.admin.metrics import Metrics
from hookline.runtime import unrouted_limit
from hookline.runtime.unrouted_limit import UnroutedLimit
from hookline.schemas.broker import Broker
from hookline.schemas.dead_letters import UNROUTED
from hookline.schemas.errors import SettingsError, Unreachable
from tests.admin.test_metrics_text import samples
from tests.contract.installations import Installation, eventually
from tests.contract.test_dead_letters import look, numbers, with_unrouted


def counted(metrics: Metrics) -> float:
    return samples(metrics.text())["hookline_unrouted_dropped_total"]


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each for each in caplog.messages if "unrouted events" in each]


async def test_what_is_dropped_is_logged_and_counted(broker: Broker, caplog: pytest.LogCaptureFixture) -> None:
    await with_unrouted(broker, 30)
    metrics = Metrics()
    await UnroutedLimit(broker, 20, metrics).look()
    assert numbers(await look(broker, UNROUTED)) == list(range(10, 30))
    assert counted(metrics) == 10
    assert said(caplog) == ["dropped the 10 oldest unrouted events: more than unrouted.max_events"]


async def test_nothing_within_the_limit_is_dropped_or_said(broker: Broker, caplog: pytest.LogCaptureFixture) -> None:
    await with_unrouted(broker, 3)
    metrics = Metrics()
    await UnroutedLimit(broker, 3, metrics).look()
    assert numbers(await look(broker, UNROUTED)) == [0, 1, 2]
    assert counted(metrics) == 0
    assert said(caplog) == []


async def test_more_than_one_step_is_dropped_in_one_look(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hookline.broker.rabbitmq.unrouted._STEP", 40)
    monkeypatch.setattr("hookline.broker.embedded.dead_letters._DROPPED_AT_ONCE", 40)
    await with_unrouted(broker, 150)
    metrics = Metrics()
    await UnroutedLimit(broker, 20, metrics).look()
    assert numbers(await look(broker, UNROUTED)) == list(range(130, 150))
    assert counted(metrics) == 130


async def test_several_processes_drop_no_more_than_one(installation: Installation) -> None:
    all_metrics = [Metrics() for _ in range(3)]
    async with AsyncExitStack() as processes:
        brokers = [await processes.enter_async_context(installation.opened()) for _ in all_metrics]
        await with_unrouted(brokers[0], 100)
        limits = [UnroutedLimit(broker, 50, each) for broker, each in zip(brokers, all_metrics, strict=True)]
        await asyncio.gather(*(each.look() for each in limits))
        assert numbers(await look(brokers[0], UNROUTED)) == list(range(50, 100))
        assert sum(map(counted, all_metrics)) == 50


async def test_the_limit_is_kept_again_after_faults(
    broker: Broker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(unrouted_limit, "_LOOK_EVERY_S", 0.01)
    faults = [SettingsError("no right"), SettingsError("no right"), Unreachable("away")]
    drop = broker.dead_letters.drop_unrouted

    async def failing(max_events: int) -> int:
        if faults:
            raise faults.pop(0)
        return await drop(max_events)

    monkeypatch.setattr(broker.dead_letters, "drop_unrouted", failing)
    await with_unrouted(broker, 5)
    keeping = asyncio.create_task(UnroutedLimit(broker, 2, Metrics()).keep())

    async def is_kept() -> bool:
        return await broker.dead_letters.count(UNROUTED) == 2

    await eventually(is_kept)
    keeping.cancel()
    assert caplog.messages.count("more than unrouted.max_events are kept: no right") == 1
