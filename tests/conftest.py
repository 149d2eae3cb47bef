from pathlib import Path

import pytest

from tests.contract.installations import fresh_rabbitmq

LONG = ("chaos", "faults", "simulation", "deployment", "end_to_end", "floods", "spool", "contract", "docs")
"""Folders whose files take long, the longest first. They begin first, so that no process is left alone with one."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: _rank(item.path))


def _rank(path: Path) -> int:
    return LONG.index(path.parent.name) if path.parent.name in LONG else len(LONG)


@pytest.fixture
async def rabbitmq_url(request: pytest.FixtureRequest) -> str:
    """The URL of this run's RabbitMQ, without anything that earlier tests declared."""
    return (await fresh_rabbitmq(request.config)).address
