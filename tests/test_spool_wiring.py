"""Which publisher the ingress gets: with a spool on RabbitMQ, unless the settings switch it off."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from hookline.broker.spool.publisher import SpoolingPublisher
from hookline.runtime.installation import Installation
from hookline.schemas.broker import Broker, Publisher
from hookline.schemas.errors import NotDurable, Unreachable
from hookline.settings import load
from tests.contract.installations import envelope
from tests.services.servers import free_ports


@asynccontextmanager
async def installed(folder: Path, url: str, spool: str = "") -> AsyncIterator[tuple[Broker, Publisher]]:
    (folder / "settings").mkdir(exist_ok=True)
    path = folder / "settings" / "hookline.toml"
    path.write_text(f'[broker]\nurl = "{url}"\n[spool]\n{spool}\n')
    async with Installation(load(path, with_sources=False)) as installation:
        broker = await installation.broker(may_be_away=True)
        yield broker, await installation.ingress_publisher(broker)


async def test_the_folder_of_the_spool_is_beside_the_settings(rabbitmq_url: str, tmp_path: Path) -> None:
    async with installed(tmp_path, rabbitmq_url, 'path = "mine"') as (broker, publisher):
        assert isinstance(publisher, SpoolingPublisher)
        await publisher.publish(envelope())
        assert (tmp_path / "settings" / "mine").is_dir()
        assert broker.publisher.ready
    assert list((tmp_path / "settings" / "mine").iterdir()) == []


async def test_an_empty_path_switches_the_spool_off(rabbitmq_url: str, tmp_path: Path) -> None:
    async with installed(tmp_path, rabbitmq_url, 'path = ""') as (broker, publisher):
        assert publisher is broker.publisher


async def test_the_embedded_queue_has_no_spool(tmp_path: Path) -> None:
    async with installed(tmp_path, "sqlite:queue.db") as (broker, publisher):
        assert publisher is broker.publisher
        assert not (tmp_path / "settings" / "hookline-spool").exists()


async def test_with_a_spool_rabbitmq_may_be_away(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (port,) = free_ports(1)
    url = f"amqp://guest:a-password@127.0.0.1:{port}/"
    async with installed(tmp_path, url) as (broker, publisher):
        assert "starting without RabbitMQ" in caplog.text
        assert "a-password" not in caplog.text
        with pytest.raises(NotDurable):
            await broker.publisher.publish(envelope())
        await publisher.publish(envelope())
        assert publisher.ready


async def test_without_a_spool_rabbitmq_may_not_be_away(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    with pytest.raises(Unreachable):
        async with installed(tmp_path, f"amqp://guest:guest@127.0.0.1:{port}/", 'path = ""'):
            pass
