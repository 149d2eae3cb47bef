"""Connections that are freed as soon as they are closed."""

import asyncio
import gc
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from hookline.ingress.connection import IngressConnection
from hookline.ingress.tls_handshake import Handshake
from tests.ingress.http_client import PATIENCE_S


def _ids_of_connections() -> set[int]:
    """What identifies each connection, and each handshake, that is in memory."""
    return {id(each) for each in gc.get_objects() if isinstance(each, (IngressConnection, Handshake))}


@asynccontextmanager
async def freed_without_the_garbage_collector() -> AsyncIterator[None]:
    """Fails unless all connections that are made within are freed soon afterwards."""
    gc.collect()
    others = _ids_of_connections()
    gc.disable()
    try:
        yield
        until_s = time.monotonic() + PATIENCE_S
        while _ids_of_connections() - others:
            assert time.monotonic() < until_s
            await asyncio.sleep(0.1)
    finally:
        gc.enable()
