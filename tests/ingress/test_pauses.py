"""The time in which the process stood still is no client's delay."""

import time

import pytest

from tests.ingress.callbacks import GOOD
from tests.ingress.http_client import Client, let_ingress_run
from tests.ingress.running_ingress import running_ingress, with_settings

TIMEOUT_S = 1.0
PAUSE_S = 3 * TIMEOUT_S
PARTS = {"head": GOOD[:20], "body": GOOD[:-1]}


def pause() -> None:
    """Stand still with the whole event loop, as a process that is stopped."""
    time.sleep(PAUSE_S)


async def status(client: Client) -> int | None:
    answer = await client.answer()
    return None if answer is None else answer.status


@pytest.mark.parametrize("first", PARTS.values(), ids=PARTS)
async def test_a_request_of_which_a_part_had_arrived_is_accepted(first: bytes) -> None:
    settings = with_settings(head_timeout_s=TIMEOUT_S, body_timeout_s=TIMEOUT_S)
    async with running_ingress(settings=settings) as ingress, ingress.connect() as client:
        await client.send(first)
        await let_ingress_run()
        pause()
        await let_ingress_run()
        await client.send(GOOD[len(first) :])
        assert await status(client) == 200
