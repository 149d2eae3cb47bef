"""An aiormq or aio-pika of another shape costs speed, and never the start: the public calls are used then.

Each shape is the installed aiormq, with a transport factory that it passes on in another way.
"""

import logging
from collections.abc import Awaitable, Callable, Iterator
from types import SimpleNamespace
from typing import Any

import aiormq
import pytest
from aiormq.exceptions import AMQPConnectionError
from yarl import URL

from hookline.broker.rabbitmq.wire import frame_transport
from tests.services.rabbitmq import server_url
from tests.services.servers import free_ports

Create = Callable[..., Awaitable[Any]]


async def with_an_unknown_option(factory: Any, url: URL, options: dict[str, Any]) -> Any:
    return await factory.create(url, congestion_control="none", **options)


async def with_a_renamed_option(factory: Any, url: URL, options: dict[str, Any]) -> Any:
    return await factory.create(url, context_provider=options.pop("ssl_context_provider"), **options)


async def with_host_and_port(factory: Any, url: URL, options: dict[str, Any]) -> Any:
    return await factory.create(url.host, url.port, **options)


async def with_one_object(factory: Any, url: URL, options: dict[str, Any]) -> Any:
    return await factory.create(SimpleNamespace(url=url, options=options))


async def with_the_url_as_text(factory: Any, url: URL, options: dict[str, Any]) -> Any:
    return await factory.create(str(url), **options)


async def by_another_name(factory: Any, url: URL, options: dict[str, Any]) -> Any:
    return await factory.open(url, **options)


async def for_an_object_with_both_streams(factory: Any, url: URL, options: dict[str, Any]) -> Any:
    streams = await factory.create(url, **options)
    return streams.reader, streams.writer


async def for_three_values(factory: Any, url: URL, options: dict[str, Any]) -> Any:
    reader, writer, _ = await factory.create(url, **options)
    return reader, writer


SHAPES = (
    with_an_unknown_option,
    with_host_and_port,
    with_one_object,
    with_the_url_as_text,
    by_another_name,
    for_an_object_with_both_streams,
    for_three_values,
)


@pytest.fixture(autouse=True)
def forget_the_log() -> Iterator[None]:
    frame_transport._log_fallback.cache_clear()  # noqa: SLF001  it logs once in a process
    yield
    frame_transport._log_fallback.cache_clear()  # noqa: SLF001  and so in the next test


def shape(monkeypatch: pytest.MonkeyPatch, create: Create | None) -> None:
    """Let aiormq call a transport factory in this way, or not at all."""
    init = aiormq.Connection.__init__

    def other(self: aiormq.Connection, url: URL, *, transport_factory: Any = None, **options: Any) -> None:
        if transport_factory is not None and create is not None:
            options["transport_factory"] = Factory(create, transport_factory)
        init(self, url, **options)

    monkeypatch.setattr(aiormq.Connection, "__init__", other)


class Factory:
    def __init__(self, create: Create, ours: Any) -> None:
        self._create = create
        self._ours = ours

    async def create(self, url: URL, **options: Any) -> Any:
        return await self._create(self._ours, url, options)


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "hookline.broker"]


async def works_by_public_calls(url: str) -> None:
    """Connect, and publish a message and get it."""
    connection, transport = await frame_transport.connect(URL(url), {})
    try:
        assert transport is None
        assert connection.transport is not None
        channel = await connection.transport.connection.channel()
        queue = str((await channel.queue_declare(exclusive=True)).queue)
        await channel.basic_publish(b"body", routing_key=queue)
        assert (await channel.basic_get(queue)).body == b"body"
    finally:
        await connection.close()


@pytest.mark.parametrize("create", SHAPES)
async def test_another_form_of_call_falls_back_with_one_line(
    create: Create, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    url = server_url(request.config)
    shape(monkeypatch, create)
    await works_by_public_calls(url)
    await works_by_public_calls(url)
    (warning,) = warnings(caplog)
    assert warning.startswith("the raw transport does not fit aiormq ")
    assert "guest" not in warning


async def test_a_factory_that_is_not_called_is_noticed(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    shape(monkeypatch, None)
    await works_by_public_calls(server_url(request.config))
    (warning,) = warnings(caplog)
    assert "(the transport_factory is not called)" in warning


async def test_a_connection_that_takes_no_factory_falls_back(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    url, init = server_url(request.config), aiormq.Connection.__init__

    def other(self: aiormq.Connection, url: URL, *, client_properties: Any = None, context: Any = None) -> None:
        init(self, url, client_properties=client_properties, context=context)

    monkeypatch.setattr(aiormq.Connection, "__init__", other)
    await works_by_public_calls(url)
    (warning,) = warnings(caplog)
    assert "(no transport_factory)" in warning


async def test_a_connection_whose_arguments_cannot_be_read_falls_back(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def unreadable(_: object) -> None:
        raise ValueError("no signature found")

    monkeypatch.setattr("inspect.signature", unreadable)
    await works_by_public_calls(server_url(request.config))
    assert len(warnings(caplog)) == 1


async def test_a_renamed_option_of_tls_falls_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """The factory cannot know the context then, and opens no connection without one."""
    opener = frame_transport._Opener()  # noqa: SLF001  no server here speaks TLS
    with pytest.raises(AttributeError):
        await with_a_renamed_option(opener, URL("amqps://127.0.0.1:1/"), {"ssl_context_provider": None})
    assert opener.frames is None


async def test_a_server_that_is_away_is_tried_once_and_is_no_other_shape(caplog: pytest.LogCaptureFixture) -> None:
    (port,) = free_ports(1)
    caplog.set_level(logging.ERROR, "aiormq")
    with pytest.raises(AMQPConnectionError):
        await frame_transport.connect(URL(f"amqp://guest:guest@127.0.0.1:{port}/"), {})
    assert warnings(caplog) == []
    assert len([record for record in caplog.records if record.name.startswith("aiormq")]) == 1
