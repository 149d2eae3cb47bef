"""The client's address behind trusted load balancers, and whether a source allows it."""

import re
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import cast

from aiohttp import web

from hookline.ingress.connection import IngressConnection, peer_of
from hookline.schemas.errors import RefusedAddress
from hookline.schemas.provider import Headers

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address

# An address alone, `203.0.113.9:51234` as Azure's gateway writes it, `[2001:db8::7]`, or `[2001:db8::7]:4711`.
_NODE = re.compile(r"\[([0-9A-Fa-f:.]+)\](?::[0-9]{1,5})?|([0-9.]+):[0-9]{1,5}|([0-9A-Fa-f:.]+)")
_QUOTED = r'"(?:[^"\\]|\\.)*+"'
# Without this check, a search would begin again at each quote of a text that is not closed, and take seconds.
_CLOSED = re.compile(rf'(?:{_QUOTED}|[^"])*+')
# RFC 7239, 4: elements between commas, pairs between semicolons, and a value may be quoted.
_ELEMENT = re.compile(rf"(?:{_QUOTED}|[^,\"])+")
_FOR = re.compile(rf'(?:^|;)\s*for\s*=\s*({_QUOTED}|[^;"\s]+)\s*(?=;|$)', re.IGNORECASE)


def check_address(peer: str, headers: Headers, allowed: Sequence[Network], trusted: Sequence[Network]) -> None:
    """Return if the client's address is allowed. Raises RefusedAddress, which answers as a wrong signature does.

    `peer` is the address that connected, and `headers` may name the client behind a trusted proxy.
    """
    address = client_address(peer, headers, trusted)
    if address is None:
        raise RefusedAddress("the client's address cannot be told from what the proxies say")
    if not within(address, allowed):
        raise RefusedAddress(f"{address} is not in allow_from")


def client_address(peer_text: str, headers: Headers, trusted: Sequence[Network]) -> Address | None:
    """The address that called the outermost trusted proxy: the last one in the chain that is not a trusted proxy.

    None if it is not an address. What stands further left was written by the client. A proxy sets one of the two
    headers and may pass on the other one as the client sent it. So they must agree where both are present.
    """
    peer = read_address(peer_text)
    if peer is None or not within(peer, trusted):
        return peer
    chains = [chain for chain in (_x_forwarded_for(headers), _forwarded(headers)) if chain]
    outermost = {_outermost(chain, trusted) for chain in chains} or {peer}
    return outermost.pop() if len(outermost) == 1 else None


def limited_client(request: web.BaseRequest, trusted: Sequence[Network]) -> str:
    """Under whose limit an incomplete request falls; "" behind a trusted proxy that does not say."""
    peer = read_address(peer_of(request)) if trusted else None
    if peer is None or not within(peer, trusted):
        return cast("IngressConnection", request.protocol).client
    address = client_address(peer_of(request), request.headers, trusted)
    return "" if address is None or within(address, trusted) else limited_as(str(address))


def _outermost(chain: Sequence[str], trusted: Sequence[Network]) -> Address | None:
    address = None
    for part in reversed(chain):
        address = read_address(part)
        if address is None or not within(address, trusted):
            break
    return address


def _x_forwarded_for(headers: Headers) -> list[str]:
    return [part for line in headers.getall("X-Forwarded-For", ()) for part in line.split(",")]


def _forwarded(headers: Headers) -> list[str]:
    return [_node(element) for line in headers.getall("Forwarded", ()) for element in _elements(line)]


def _elements(line: str) -> list[str]:
    """The elements of a `Forwarded` header; one that is no element if the line cannot be read."""
    elements = _ELEMENT.findall(line) if _CLOSED.fullmatch(line) else []
    return elements if sum(map(len, elements)) + len(elements) - 1 == len(line) else [""]


def _node(element: str) -> str:
    found = _FOR.findall(element)
    return found[0].strip('"') if len(found) == 1 else ""


def read_address(text: str) -> Address | None:
    """An address, with or without a port; IPv4 also where it is written as IPv6. None if it is none."""
    node = _NODE.fullmatch(text.strip())
    try:
        address = ip_address(node[1] or node[2] or node[3]) if node else None
    except ValueError:
        return None
    if node and node[1] and not isinstance(address, IPv6Address):
        return None
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


def limited_as(text: str) -> str:
    """Whose limit a peer falls under: its address, or in IPv6 its /64 network, since one host may have all of that."""
    if ":" not in text:
        return text
    address = read_address(text.partition("%")[0])
    return str(ip_network((address, 64), strict=False)) if isinstance(address, IPv6Address) else str(address or text)


def within(address: Address, networks: Sequence[Network]) -> bool:
    return any(address.version == network.version and address in network for network in networks)
