"""Connections that are freed as soon as they are closed."""

import asyncio
import gc
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from hookline.ingress.connection import IngressConnection
from hookline.ingress.tls_handshake import Handshake
from tests.ingress.http_client import PATIENCE_S


def _is_any_there() -> bool:
    """Whether a connection or a handshake is in memory that was made since the freeze."""
    return any(isinstance(each, (IngressConnection, Handshake)) for each in gc.get_objects())


@asynccontextmanager
async def freed_without_the_garbage_collector() -> AsyncIterator[None]:
    """Fails unless all connections that are made within are freed soon afterwards."""
    gc.disable()
    gc.freeze()  # to look only at what is made within: a look at all objects takes half a second
    try:
        yield
        until_s = time.monotonic() + PATIENCE_S
        while _is_any_there():
            assert time.monotonic() < until_s
            await asyncio.sleep(0.1)
    finally:
        gc.unfreeze()
        gc.enable()
