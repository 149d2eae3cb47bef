"""The addresses of a host, looked up in a daemon thread.

The event loop's own look-up runs in an executor, whose threads are joined when the process ends. While no name server
answers, one look-up takes ten seconds and more, which a stop would have to wait for.
"""

import asyncio
import socket
import threading
from collections.abc import Sequence
from contextlib import suppress
from ipaddress import ip_address


async def addresses_of(host: str, port: int) -> Sequence[str]:
    """The addresses to try one after the other; an address is its own. Raises OSError, or UnicodeError for no name."""
    if is_address(host):
        return [host]
    loop = asyncio.get_running_loop()
    found: asyncio.Future[Sequence[str]] = loop.create_future()

    def look_up() -> None:
        addresses, error = list[str](), None
        try:
            infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            addresses = list(dict.fromkeys(str(info[4][0]) for info in infos))
        except (OSError, UnicodeError) as fault:
            error = fault
        with suppress(RuntimeError):  # the event loop is closed: nobody waits any more
            loop.call_soon_threadsafe(_end, found, addresses, error)

    threading.Thread(target=look_up, name="name look-up", daemon=True).start()
    return await found


def is_address(host: str) -> bool:
    """Whether a host is named by an address of its own, IPv4 or IPv6."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _end(found: "asyncio.Future[Sequence[str]]", addresses: Sequence[str], error: Exception | None) -> None:
    if found.done():  # nobody waits any more
        return
    if error is None:
        found.set_result(addresses)
    else:
        found.set_exception(error)
