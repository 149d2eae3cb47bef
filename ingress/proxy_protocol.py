"""The PROXY protocol, versions 1 and 2: a proxy names the client before the first byte of the connection.

Source: "The PROXY protocol, versions 1 & 2" of HAProxy, sections 2.1 and 2.2.
"""

import asyncio
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, NamedTuple, Protocol

from aiohttp import web

from hookline.ingress.client_address import Network, read_address, within
from hookline.ingress.connection import IngressConnection
from hookline.schemas.errors import MalformedRequest

_SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
_MAX_LINE_BYTES = 107
_MAX_HEADER_BYTES = 4096
_FIXED_BYTES = 16
_LOCAL, _PROXY = 0x20, 0x21
_TCP4, _TCP6 = 0x11, 0x21


class Header(NamedTuple):
    """What was read: the client's address, "" where the proxy speaks for itself or does not know it; and its size.

    A connection without an address must not keep that of the proxy: its client could then name any in HTTP.
    """

    address: str
    size: int


def read_header(data: bytes) -> Header | None:
    """The header that begins with these bytes; None if more of it must arrive. Raises ValueError if it is none."""
    if data.startswith(_SIGNATURE[: len(data)]):
        return _read_binary(data)
    if data.startswith(b"PROXY "[: len(data)]):
        return _read_line(data)
    raise ValueError("no header of the PROXY protocol")


def _read_line(data: bytes) -> Header | None:
    line, end, _ = data.partition(b"\r\n")
    if len(line) + 2 > _MAX_LINE_BYTES:
        raise ValueError("the line is too long")
    if not end:
        return None
    words = line.decode("ascii").split(" ")
    if words[1] == "UNKNOWN":
        return Header("", len(line) + 2)
    _, family, source, destination, *ports = words
    kind = {"TCP4": IPv4Address, "TCP6": IPv6Address}.get(family)
    addresses = ip_address(source), ip_address(destination)
    if kind is None or not all(isinstance(each, kind) for each in addresses) or len(ports) != 2:
        raise ValueError("the line is not that of a TCP connection")
    return Header(source, len(line) + 2)


def _read_binary(data: bytes) -> Header | None:
    if len(data) < _FIXED_BYTES:
        return None
    command, family = data[12], data[13]
    size = _FIXED_BYTES + int.from_bytes(data[14:16], "big")
    if command not in (_LOCAL, _PROXY) or size > _MAX_HEADER_BYTES:
        raise ValueError("the header has an unknown version or is too large")
    if len(data) < size:
        return None
    if command == _LOCAL or family not in (_TCP4, _TCP6):
        return Header("", size)
    length = 4 if family == _TCP4 else 16
    if size < _FIXED_BYTES + 2 * length + 4:
        raise ValueError("the header is too short for its addresses")
    return Header(str(ip_address(data[_FIXED_BYTES : _FIXED_BYTES + length])), size)


class Renaming(Protocol):
    """What knows the connections by their addresses."""

    def trusted(self) -> Sequence[Network]:
        """The addresses of trusted proxies."""

    def rename(self, connection: IngressConnection, address: str) -> None:
        """Count a connection for another address."""


class ProxiedConnection(IngressConnection):
    """A connection that begins with such a header if it comes from a trusted proxy. No other may begin with one."""

    __slots__ = ("_limits", "_unread")

    def __init__(self, manager: web.Server, limits: "Renaming", *args: Any, **options: Any) -> None:
        super().__init__(manager, *args, **options)
        self._limits = limits
        self._unread: bytes | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        peer = read_address(self.address)
        if peer is not None and within(peer, self._limits.trusted()):
            self._unread = b""

    def data_received(self, data: bytes) -> None:
        if self._unread is None:
            super().data_received(data)
            return
        self._unread += data
        try:
            header = read_header(self._unread)
        except (ValueError, IndexError):
            self._unread = None
            self._refuse(MalformedRequest("the connection does not begin with a header of the PROXY protocol"), 400)
            return
        if header is not None:
            rest, self._unread = self._unread[header.size :], None
            self._limits.rename(self, header.address)
            if rest and self.transport is not None:
                super().data_received(rest)
