from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.contract.installations import RabbitMQInstallation
from tests.end_to_end.processes import Project
from tests.services.rabbitmq import server_url


@pytest.fixture(params=["embedded", "rabbitmq"])
async def project(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Project]:
    """A project on each broker in turn."""
    if request.param == "embedded":
        made = Project(tmp_path)
    else:
        url = server_url(request.config)
        await RabbitMQInstallation(url).clear()
        made = Project(tmp_path, url)
    yield made
    made.close()


@pytest.fixture
def embedded_project(tmp_path: Path) -> Iterator[Project]:
    made = Project(tmp_path)
    yield made
    made.close()
