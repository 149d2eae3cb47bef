"""Retries that RabbitMQ cannot return when they are due. It tries again after a time that its operator sets."""

import asyncio

import pytest

from hookline.broker.rabbitmq.connection import RabbitMQSettings
from hookline.schemas import topics
from hookline.schemas.broker import Again
from tests.contract.installations import RabbitMQInstallation, envelope, opened_rabbitmq, queue_name, raw_channel, taken
from tests.services.rabbitmq import own_node

ALL = ("#",)
DELAY_S = 4.0
PROMISED_S = 15.0


async def test_a_retry_that_was_due_while_its_queue_was_deleted_returns_soon(request: pytest.FixtureRequest) -> None:
    node, name = own_node(request.config), queue_name()
    await RabbitMQInstallation(node.url).clear()
    async with opened_rabbitmq(RabbitMQSettings(node.url)) as broker:
        queue = await broker.subscribe(name, ALL, 10)
        sent = envelope()
        await broker.publisher.publish(sent)
        (received,) = await taken(queue)
        await queue.settle(received, Again(DELAY_S, 2, "failed"))
        await queue.close()
        async with raw_channel(node.url) as channel:
            await channel.queue_delete(topics.queue_name(name))
            await asyncio.sleep(DELAY_S)
        queue = await broker.subscribe(name, ALL, 10)
        (returned,) = await taken(queue, within_s=PROMISED_S)
    assert returned.headers["cloudEvents_id"] == sent.id
    assert returned.attempt == 2
