"""Host names, looked up in daemon threads.

A usual event loop looks them up in an executor, or uvloop in its own threads. They are joined when the process ends.
While no name server answers, one look-up takes ten seconds and more, which a stop would have to wait for. The libraries
for RabbitMQ, Redis, PostgreSQL and HTTP all ask the event loop.
"""

import asyncio
import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from ipaddress import ip_address
from typing import Any, TypeAlias

Infos: TypeAlias = Sequence[tuple[Any, ...]]
"""What `socket.getaddrinfo` returns."""


class LooksUpInThreads(asyncio.AbstractEventLoop):
    """A part of an event loop. Those who ask the same at a time share one thread, however often they give up."""

    def __init__(self) -> None:
        super().__init__()
        self._lookups: dict[tuple[object, ...], asyncio.Future[Infos]] = {}

    async def getaddrinfo(  # type: ignore[override]  # the stub names the types of the five parts
        self,
        host: Any,
        port: Any,
        *,
        family: int = 0,
        type: int = 0,  # noqa: A002  its name
        proto: int = 0,
        flags: int = 0,
    ) -> Infos:
        """Raises OSError, or UnicodeError for what is no name."""
        asked = (host, port, family, type, proto, flags)
        found = self._lookups.get(asked)
        if found is None:
            found = self._lookups[asked] = self._look_up(partial(socket.getaddrinfo, *asked))
            found.add_done_callback(lambda _: self._lookups.pop(asked))
        return await asyncio.shield(found)

    async def create_connection(
        self, protocol_factory: Callable[[], asyncio.BaseProtocol], host: Any = None, port: Any = None, **options: Any
    ) -> Any:
        """As every event loop's, to the first address of the host that answers. uvloop would not ask `getaddrinfo`."""
        connect = partial(super().create_connection, protocol_factory)
        if host is None or is_address(host):
            return await connect(host, port, **options)
        if options.get("ssl") and options.get("server_hostname") is None:
            options["server_hostname"] = host
        asked = {name: options[name] for name in ("family", "proto", "flags") if name in options}
        infos = await self.getaddrinfo(host, port, type=socket.SOCK_STREAM, **asked)
        *others, last = dict.fromkeys(str(info[4][0]) for info in infos)
        for address in others:
            with suppress(OSError):
                return await connect(address, port, **options)
        return await connect(last, port, **options)

    def _look_up(self, ask: Callable[[], Infos]) -> "asyncio.Future[Infos]":
        found: asyncio.Future[Infos] = self.create_future()

        def look_up() -> None:
            try:
                end = partial(_set, found, ask())
            except (OSError, UnicodeError) as error:
                end = partial(_set_error, found, error)
            with suppress(RuntimeError):  # the event loop is closed: nobody waits any more
                self.call_soon_threadsafe(end)

        threading.Thread(target=look_up, name="name look-up", daemon=True).start()
        return found


def is_address(host: str) -> bool:
    """Whether a host is named by an address of its own, IPv4 or IPv6."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def is_nameable(host: str) -> bool:
    """Whether a host can have this name: one with an empty part, or one of 64 bytes, is looked up nowhere (RFC 1035).

    To ask for one raises UnicodeError, and not OSError as for a host that there is not.
    """
    try:
        host.encode("idna")
    except UnicodeError:
        return False
    return True


def _set(found: "asyncio.Future[Infos]", infos: Infos) -> None:
    if not found.done():
        found.set_result(infos)


def _set_error(found: "asyncio.Future[Infos]", error: Exception) -> None:
    if not found.done():
        found.set_exception(error)
        found.exception()  # retrieved: all who asked may have given up
