"""Which publisher the ingress gets: with a spool on RabbitMQ, unless the settings switch it off."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from yarl import URL

from hookline.broker.rabbitmq import broker, connection
from hookline.broker.rabbitmq.connection import RabbitMQSettings
from hookline.broker.rabbitmq.topology.exchanges import declare_exchanges
from hookline.broker.spool.publisher import SpoolingPublisher
from hookline.runtime.installation import Installation
from hookline.schemas.broker import Broker, Publisher
from hookline.schemas.errors import NotDurable, Unreachable
from hookline.settings import load
from tests.amqp_proxy import AmqpProxy
from tests.contract.installations import envelope
from tests.services.servers import free_ports

NEVER_S = 3600.0
"""Longer than a test may take."""


@asynccontextmanager
async def installed(folder: Path, url: str, spool: str = "") -> AsyncIterator[tuple[Broker, Publisher]]:
    (folder / "settings").mkdir(exist_ok=True)
    path = folder / "settings" / "hookline.toml"
    path.write_text(f'[broker]\nurl = "{url}"\n[spool]\n{spool}\n')
    async with Installation(load(path, with_sources=False)) as installation:
        opened = await installation.broker(may_be_away=True)
        yield opened, await installation.ingress_publisher(opened)


async def test_the_folder_of_the_spool_is_beside_the_settings(rabbitmq_url: str, tmp_path: Path) -> None:
    async with installed(tmp_path, rabbitmq_url, 'path = "mine"') as (opened, publisher):
        assert isinstance(publisher, SpoolingPublisher)
        await publisher.publish(envelope())
        assert (tmp_path / "settings" / "mine").is_dir()
        assert opened.publisher.ready
    assert list((tmp_path / "settings" / "mine").iterdir()) == []


async def test_an_empty_path_switches_the_spool_off(rabbitmq_url: str, tmp_path: Path) -> None:
    async with installed(tmp_path, rabbitmq_url, 'path = ""') as (opened, publisher):
        assert publisher is opened.publisher


async def test_the_embedded_queue_has_no_spool(tmp_path: Path) -> None:
    async with installed(tmp_path, "sqlite:queue.db") as (opened, publisher):
        assert publisher is opened.publisher
        assert not (tmp_path / "settings" / "hookline-spool").exists()


async def test_with_a_spool_rabbitmq_may_be_away(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (port,) = free_ports(1)
    url = f"amqp://guest:a-password@127.0.0.1:{port}/"
    async with installed(tmp_path, url) as (opened, publisher):
        assert "starting without RabbitMQ" in caplog.text
        assert "a-password" not in caplog.text
        with pytest.raises(NotDurable):
            await opened.publisher.publish(envelope())
        await publisher.publish(envelope())
        assert publisher.ready


@asynccontextmanager
async def silent_server() -> AsyncIterator[int]:
    """The port of a server that accepts connections and says nothing."""

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(accept, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


@pytest.mark.parametrize("scheme", ["amqp", "amqps"])
async def test_a_start_does_not_wait_for_a_rabbitmq_that_says_nothing(
    scheme: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "RabbitMQSettings", partial(RabbitMQSettings, connect_timeout_s=NEVER_S))
    async with silent_server() as port, installed(tmp_path, f"{scheme}://u:p@127.0.0.1:{port}/") as (_, publisher):
        assert "starting without RabbitMQ; events are kept in the spool until it is there" in caplog.text
        await publisher.publish(envelope())


async def test_a_start_does_not_wait_for_a_rabbitmq_that_freezes_meanwhile(
    rabbitmq_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even until the connections that are open are closed in order."""
    async with AmqpProxy(URL(rabbitmq_url).port or 0) as proxy:

        async def freeze(*given: Any) -> None:
            proxy.mode = "freeze"
            await declare_exchanges(*given)

        with monkeypatch.context() as patched:
            patched.setattr(broker, "declare_exchanges", freeze)
            patched.setattr(connection, "RabbitMQSettings", partial(RabbitMQSettings, connect_timeout_s=NEVER_S))
            for module in (broker, connection):
                patched.setattr(module, "_CLOSE_S", NEVER_S)
            opening = installed(tmp_path, proxy.url)
            _, publisher = await opening.__aenter__()
        try:
            assert "starting without RabbitMQ; events are kept in the spool until it is there" in caplog.text
            await publisher.publish(envelope())
        finally:
            await opening.__aexit__(None, None, None)


async def test_without_a_spool_rabbitmq_may_not_be_away(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    with pytest.raises(Unreachable):
        async with installed(tmp_path, f"amqp://guest:guest@127.0.0.1:{port}/", 'path = ""'):
            pass
