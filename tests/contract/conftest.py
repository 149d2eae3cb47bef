from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from schemas.broker import Broker
from tests.contract.installations import EmbeddedInstallation, Installation, RabbitMQInstallation
from tests.services.rabbitmq import server_url


@pytest.fixture(params=["embedded", "rabbitmq"])
async def installation(request: pytest.FixtureRequest, tmp_path: Path) -> Installation:
    if request.param == "embedded":
        return EmbeddedInstallation(tmp_path / "queues.db")
    rabbitmq = RabbitMQInstallation(server_url(request.config))
    await rabbitmq.clear()
    return rabbitmq


@pytest.fixture
async def broker(installation: Installation) -> AsyncIterator[Broker]:
    async with installation.opened() as opened:
        yield opened
