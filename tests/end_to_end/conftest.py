from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.contract.installations import RabbitMQInstallation
from tests.end_to_end.processes import House
from tests.services.rabbitmq import server_url


@pytest.fixture(params=["embedded", "rabbitmq"])
async def house(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[House]:
    """A house on each broker in turn."""
    if request.param == "embedded":
        made = House(tmp_path)
    else:
        url = server_url(request.config)
        await RabbitMQInstallation(url).clear()
        made = House(tmp_path, url)
    yield made
    made.close()


@pytest.fixture
def embedded_house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    yield made
    made.close()
