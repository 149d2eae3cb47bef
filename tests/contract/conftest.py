from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from hookline.schemas.broker import Broker
from hookline.workers.store import Store
from tests.contract.installations import EmbeddedInstallation, Installation, fresh_rabbitmq, queue_name
from tests.contract.stores import Another, opened
from tests.services import postgresql, redis


@pytest.fixture(params=["embedded", "rabbitmq"])
async def installation(request: pytest.FixtureRequest, tmp_path: Path) -> Installation:
    if request.param == "embedded":
        return EmbeddedInstallation(tmp_path / "queues.db")
    return await fresh_rabbitmq(request.config)


@pytest.fixture
async def broker(installation: Installation) -> AsyncIterator[Broker]:
    async with installation.opened() as opened:
        yield opened


@pytest.fixture
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Of the store that a test is marked with: `@each_store` and so on."""
    addresses: dict[str, Callable[[], str]] = {
        "memory": lambda: "memory:",
        "model": lambda: f"model:{tmp_path}",
        "sqlite": lambda: f"sqlite:{tmp_path / 'store.db'}",
        "redis": lambda: redis.server_url(request.config),
        "postgresql": lambda: postgresql.server_url(request.config),
    }
    return addresses[request.param]()


@pytest.fixture
async def store(address: str) -> AsyncIterator[Store]:
    async with opened(address) as store:
        yield store


@pytest.fixture
async def another(address: str) -> Another:
    return lambda: opened(address)


@pytest.fixture
async def queue() -> str:
    """A name that no other test uses."""
    return queue_name()
