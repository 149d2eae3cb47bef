"""The contract of the brokers on the model broker: what the simulation relies on is what real brokers do.

Left out is what the model has not: the spool of a publisher, dead letters that are scanned, and moving between queues.
"""
# ruff: noqa: F401  pytest runs what is imported

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import copy_context
from typing import cast
from uuid import uuid4

import pytest

from hookline.schemas import topics
from hookline.schemas.broker import NOTHING_KEPT, Broker, Retention
from tests.contract.installations import ParkedMessage
from tests.contract.test_broker import (
    test_a_done_message_is_deleted,
    test_a_message_arrives_byte_for_byte,
    test_a_message_returns_after_its_delay_with_its_attempt,
    test_a_message_without_delay_returns_at_once,
    test_a_parked_message_is_kept_with_its_reason,
    test_a_retry_has_the_next_number_if_its_settlement_says_so,
    test_a_thousand_concurrent_publishes_are_all_kept,
    test_a_topic_that_is_no_longer_named_is_unbound,
    test_an_event_does_not_reach_a_queue_that_does_not_want_it,
    test_an_event_reaches_every_queue_that_wants_it,
    test_an_event_that_no_queue_wants_is_kept_as_unrouted,
    test_cancelling_take_loses_no_message,
    test_one_consumer_sees_the_events_of_a_subject_in_order,
    test_patterns_follow_the_rules_of_amqp,
    test_two_consumers_of_a_queue_share_its_messages,
    test_unsettled_messages_are_requeued_without_counting_an_attempt,
)
from tests.contract.test_ordered_pool import (
    test_a_failing_event_holds_back_its_room_and_no_other,
    test_a_failing_event_is_parked_after_hold_s_and_the_next_is_handled,
    test_a_repeat_that_waits_behind_its_event_is_a_duplicate,
    test_at_most_concurrency_events_are_in_flight_and_one_of_each_room,
    test_at_the_stop_events_in_flight_finish_and_waiting_ones_are_requeued,
)
from tests.contract.test_partitions import (
    test_a_second_process_gets_no_message_behind_those_of_the_first,
    test_an_event_that_arrives_before_any_consumer_is_kept,
    test_dead_letters_of_all_partitions_are_in_one_queue,
    test_events_of_a_subject_reach_its_partition_and_no_other,
    test_messages_that_were_requeued_often_keep_their_order,
    test_partitions_are_bound_to_the_latest_patterns_of_the_worker,
    test_requeued_messages_come_again_in_order,
)
from tests.contract.test_pool import (
    store,
    test_events_that_wait_for_a_running_function_are_requeued_when_the_pool_stops,
    test_while_calls_are_slow_only_a_few_more_events_are_claimed_than_functions_run,
)
from tests.simulation.broker_server import BrokerServer
from tests.simulation.model_broker import TIMEOUT_S, ModelBroker
from tests.simulation.network import Host, NetworkPath


class ModelInstallation:
    """Implements `Installation`."""

    address = "model:"

    def __init__(self) -> None:
        self._server = BrokerServer(Host())

    @asynccontextmanager
    async def opened(
        self,
        max_in_flight: int = 1000,  # noqa: ARG002  the model has no limit
        retention: Retention = NOTHING_KEPT,  # noqa: ARG002  nor a history
    ) -> AsyncIterator[Broker]:
        broker = ModelBroker(
            self._server, NetworkPath(self._server.host, TIMEOUT_S, in_order=True), uuid4().hex, copy_context()
        )
        yield cast("Broker", broker)  # without history and dead letters
        await broker.close()

    async def depth(self, name: str) -> int:
        if name == topics.UNROUTED:
            return len(self._server.unrouted)
        if name in self._server.dead:
            return len(self._server.dead[name])
        return len(self._server.queues[name].ready)

    async def dead(self, queue: str) -> list[ParkedMessage]:
        return [
            ParkedMessage(
                each.headers, each.body, each.notes["reason"], each.notes["detail"], int(each.notes["attempts"])
            )
            for each in self._server.dead[topics.dead_name(queue)]
        ]


@pytest.fixture
async def installation() -> ModelInstallation:
    return ModelInstallation()


@pytest.fixture
async def broker(installation: ModelInstallation) -> AsyncIterator[Broker]:
    async with installation.opened() as opened:
        yield opened
