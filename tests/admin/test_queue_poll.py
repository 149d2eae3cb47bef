"""The gauges of queues, and how old the oldest message is at most."""

import asyncio
from collections.abc import Collection, Sequence

import pytest

from hookline.admin import queue_poll
from hookline.admin.metrics import Metrics
from hookline.admin.queue_poll import OldestBound, QueuePoll
from hookline.schemas.broker import Received
from hookline.schemas.envelope import RECEIVED_AT_HEADER
from hookline.schemas.errors import SettingsError, Unreachable
from hookline.schemas.queue_states import QueueState
from tests.admin.test_metrics_text import samples


def state(queue: str = "billing", **changed: float | None) -> QueueState:
    facts = {"waiting": 3, "in_flight": None, "retrying": None, "dead": 2, "consumers": 1, "oldest_s": None, **changed}
    return QueueState(queue=queue, **facts)  # type: ignore[arg-type]  # of a test


class Queues:
    """States that a test sets."""

    def __init__(self, *states: QueueState) -> None:
        self.found: Sequence[QueueState] = states
        self.fault: Exception | None = None

    async def names(self) -> Sequence[str]:
        if self.fault is not None:
            raise self.fault
        return [each.queue for each in self.found]

    async def states(self, queues: Collection[str], *, retrying: bool = False) -> Sequence[QueueState]:  # noqa: ARG002  nothing to count
        return [each for each in self.found if each.queue in queues]

    async def unrouted(self) -> int:
        return 7


async def test_every_queue_has_its_gauges() -> None:
    metrics = Metrics()
    await QueuePoll(Queues(state(), state("rooms", waiting=0, consumers=None)), metrics, None).look()
    found = samples(metrics.text())
    assert found['hookline_queue_ready{queue="billing"}'] == 3
    assert found['hookline_dead_letters{queue="rooms"}'] == 2
    assert found['hookline_consumers{queue="billing"}'] == 1
    assert 'hookline_consumers{queue="rooms"}' not in found
    assert found["hookline_unrouted"] == 7


async def test_a_worker_looks_at_its_own_queues_only() -> None:
    metrics = Metrics()
    await QueuePoll(Queues(state(), state("rooms")), metrics, ["rooms"]).look()
    assert [name for name in samples(metrics.text()) if "billing" in name] == []


async def test_a_process_that_may_not_list_queues_has_no_gauges_of_them(caplog: pytest.LogCaptureFixture) -> None:
    queues, metrics = Queues(state()), Metrics()
    queues.fault = SettingsError("no right")
    await QueuePoll(queues, metrics, None).look()
    assert caplog.messages == ["metrics and alerts miss queues that no process works on: no right"]
    found = samples(metrics.text())
    assert found["hookline_unrouted"] == 7
    assert 'hookline_queue_ready{queue="billing"}' not in found


async def test_queues_are_still_looked_at_while_their_names_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process may hold the lock of the register."""
    monkeypatch.setattr(queue_poll, "_NAMES_EVERY_S", 0.0)
    queues, metrics = Queues(state()), Metrics()
    poll = QueuePoll(queues, metrics, None)
    await poll.look()
    queues.fault = Unreachable("the register is locked")
    await poll.look()
    assert samples(metrics.text())['hookline_queue_ready{queue="billing"}'] == 3


async def test_names_that_could_not_be_read_are_read_at_the_next_look(caplog: pytest.LogCaptureFixture) -> None:
    queues, metrics = Queues(state()), Metrics()
    queues.fault = Unreachable("the register is locked")
    poll = QueuePoll(queues, metrics, None)
    await poll.look()
    assert caplog.messages == []
    queues.fault = None
    await poll.look()
    assert samples(metrics.text())['hookline_queue_ready{queue="billing"}'] == 3


async def test_an_age_that_the_broker_knows_is_shown() -> None:
    metrics = Metrics()
    await QueuePoll(Queues(state(oldest_s=99.0)), metrics, None).look()
    assert samples(metrics.text())['hookline_queue_oldest_seconds{queue="billing"}'] == 99


async def test_an_age_that_the_broker_does_not_know_is_bounded_by_what_was_fetched() -> None:
    metrics, now_s = Metrics(), [1_767_225_600.0]  # 2026-01-01
    poll = QueuePoll(Queues(state()), metrics, None, lambda: now_s[0])
    metrics.fetched("billing", [Received({RECEIVED_AT_HEADER: "2025-12-31T23:58:20Z"}, "", b"", 1, None)])
    await poll.look()
    assert samples(metrics.text())['hookline_queue_oldest_seconds{queue="billing"}'] == 100
    metrics.fetched("billing", [Received({RECEIVED_AT_HEADER: "2025-12-01T00:00:00Z"}, "", b"", 2, None)])
    await poll.look()  # one that is tried again may be much older than what waits
    assert samples(metrics.text())['hookline_queue_oldest_seconds{queue="billing"}'] == 100


@pytest.mark.parametrize(
    ("looks", "ages"),
    [
        ([(0, 0, None), (10, 5, None), (20, 9, None)], [0, 10, 20]),
        ([(0, 5, None), (10, 5, None), (20, 0, None), (30, 2, None)], [0, 10, 0, 10]),
        ([(100, 5, 40), (110, 5, 105), (120, 0, 105), (130, 1, 105)], [60, 5, 0, 10]),
    ],
    ids=["nothing is taken", "it was seen empty", "messages are taken"],
)
def test_the_oldest_message_is_younger_than_what_was_taken_and_than_an_empty_queue(
    looks: list[tuple[float, int, float | None]], ages: list[float]
) -> None:
    bound = OldestBound(looks[0][0])
    assert [bound.look(waiting, fetched_s, now_s) for now_s, waiting, fetched_s in looks] == ages


async def test_while_the_broker_is_away_there_are_no_values() -> None:
    class Away(Queues):
        async def unrouted(self) -> int:
            raise Unreachable("RabbitMQ is away")

    metrics = Metrics()
    keeping = asyncio.create_task(QueuePoll(Away(state()), metrics, None).keep())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    keeping.cancel()
    assert 'hookline_queue_ready{queue="billing"}' not in samples(metrics.text())
