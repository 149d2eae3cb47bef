from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.contract.installations import fresh_rabbitmq
from tests.end_to_end.processes import Project


@pytest.fixture(params=["embedded", "rabbitmq"])
async def project(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Project]:
    """A project on each broker in turn."""
    if request.param == "embedded":
        made = Project(tmp_path)
    else:
        made = Project(tmp_path, (await fresh_rabbitmq(request.config)).address)
    yield made
    made.close()


@pytest.fixture
def embedded_project(tmp_path: Path) -> Iterator[Project]:
    made = Project(tmp_path)
    yield made
    made.close()
