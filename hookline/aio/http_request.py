"""Makes aiohttp's request of any head that its parser accepts."""

import asyncio
from typing import Any

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import StreamReader


def make_request(
    message: RawRequestMessage,
    payload: StreamReader,
    protocol: web.RequestHandler,
    writer: AbstractStreamWriter,
    task: "asyncio.Task[None]",
) -> web.BaseRequest:
    """The request, without the host of a target that is a whole URL.

    aiohttp would decode that host, which fails for some names, such as `xn--a`. Its task would end with the error, and
    the connection would neither be answered nor closed.
    """
    if message.url.absolute:
        message = message._replace(url=message.url.relative())
    loop: Any = protocol._loop  # noqa: SLF001  as aiohttp's own factory
    return web.BaseRequest(message, payload, protocol, writer, task, loop)
