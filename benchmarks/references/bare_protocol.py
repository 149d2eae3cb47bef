"""A bare asyncio protocol that splits requests by hand and answers each: the floor of any HTTP server in Python.

It is no HTTP server: it believes every request, and knows only bodies with a length.

python -m benchmarks.references.bare_protocol PORT
"""

import asyncio
import re
import sys
from typing import cast

from benchmarks.references.serving import run, until_stopped

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
_NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"


class Connection(asyncio.Protocol):
    def __init__(self) -> None:
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (end := self._received.find(b"\r\n\r\n") + 4) >= 4:
            length = _LENGTH.search(self._received, 0, end)
            size = end + (int(length[1]) if length else 0)
            if len(self._received) < size:
                return
            is_callback = self._received.startswith(b"POST ")
            self._received = self._received[size:]
            self._transport.write(_ANSWER if is_callback else _NOT_FOUND)


async def main(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", port, backlog=1024)
    async with server:
        await until_stopped()


if __name__ == "__main__":
    run(main(int(sys.argv[1])))
