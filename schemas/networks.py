"""Networks of addresses (CIDR), and whether a list of them lets everybody in."""

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Network, IPv6Network, collapse_addresses
from typing import TypeAlias

Network: TypeAlias = IPv4Network | IPv6Network

_HALF_OF_IPV4 = 2**31
_PUBLIC_IPV6 = IPv6Network("2000::/3")  # all that is routed: RFC 4291, 2.4
_HALF_OF_IPV6 = _PUBLIC_IPV6.num_addresses // 2


def names_everybody(networks: Iterable[Network]) -> bool:
    """Whether the networks hold at least half of the public addresses of one kind, in one piece or in many."""
    listed = tuple(networks)
    old = tuple(network for network in listed if isinstance(network, IPv4Network))
    new = tuple(network for network in listed if isinstance(network, IPv6Network))
    return _count(collapse_addresses(old)) >= _HALF_OF_IPV4 or _public(tuple(collapse_addresses(new))) >= _HALF_OF_IPV6


def _count(networks: Iterable[Network]) -> int:
    return sum(network.num_addresses for network in networks)


def _public(networks: Sequence[IPv6Network]) -> int:
    """How many public addresses the networks hold, which do not overlap."""
    if any(_PUBLIC_IPV6.subnet_of(network) for network in networks):
        return _PUBLIC_IPV6.num_addresses
    return _count(network for network in networks if network.subnet_of(_PUBLIC_IPV6))
