"""Who is calling, behind load balancers that we trust; and whether a source lets that address in."""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from aiohttp import web

from hookline.schemas.errors import BadSignature
from hookline.schemas.provider import AnySource

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address


def check_address(request: web.BaseRequest, source: AnySource, trusted: Sequence[Network]) -> None:
    """Return if the source lets the caller's address in, else raise BadSignature: a forger learns nothing from it."""
    if source.allow_from:
        address = caller(request.remote or "", request.headers.getall("X-Forwarded-For", ()), trusted)
        if address is None or not _within(address, source.allow_from):
            raise BadSignature("the signature does not fit")


def caller(remote: str, forwarded: Sequence[str], trusted: Sequence[Network]) -> Address | None:
    """The address that called the outermost proxy that we trust: the last one in the chain that is not a proxy of ours.

    None if it is no address at all. What stands further left in X-Forwarded-For was written by the caller.
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
