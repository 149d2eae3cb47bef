import pytest

from tests.contract.installations import fresh_rabbitmq


@pytest.fixture
async def rabbitmq_url(request: pytest.FixtureRequest) -> str:
    """The URL of this run's RabbitMQ, without anything that earlier tests declared."""
    return (await fresh_rabbitmq(request.config)).address
