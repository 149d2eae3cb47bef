"""The client's address behind trusted load balancers, and whether a source allows it."""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from aiohttp import web

from hookline.schemas.errors import BadSignature

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address


def check_address(request: web.BaseRequest, allowed: Sequence[Network], trusted: Sequence[Network]) -> None:
    """Return if the client's address is allowed, else raise the same BadSignature as for a wrong signature."""
    address = client_address(request.remote or "", request.headers.getall("X-Forwarded-For", ()), trusted)
    if address is None or not _within(address, allowed):
        raise BadSignature("the signature is wrong")


def client_address(remote: str, forwarded: Sequence[str], trusted: Sequence[Network]) -> Address | None:
    """The address that called the outermost trusted proxy: the last one in the chain that is not a trusted proxy.

    None if it is not an address. What stands further left in X-Forwarded-For was written by the client.
    """
    chain = [part.strip() for header in forwarded for part in header.split(",")] + [remote]
    address = None
    for part in reversed(chain):
        address = _address(part)
        if address is None or not _within(address, trusted):
            break
    return address


def _address(text: str) -> Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


def _within(address: Address, networks: Sequence[Network]) -> bool:
    return any(address.version == network.version and address in network for network in networks)
