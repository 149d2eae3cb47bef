"""The settings of the door, as they stand under `[ingress]`."""

from typing import Annotated

import msgspec

Seconds = Annotated[float, msgspec.Meta(gt=0, le=3600)]
Count = Annotated[int, msgspec.Meta(ge=1)]


class IngressSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where to listen, and what to put up with.

    Addresses of load balancers in front of us are `trusted_proxies` (CIDR): from them, and nobody else,
    `X-Forwarded-For` is believed. `drain_s` is how long we go on serving after SIGTERM with readiness off, so that the
    load balancer notices; `shutdown_s` how long requests in hand may then take. `write_timeout_s` is how long a client
    may take to read what it was answered. `processes` share the port; `max_connections` and `max_unverified_per_10_s`
    are those of each.
    """

    host: str = "0.0.0.0"  # noqa: S104  providers call from outside
    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 8080
    processes: Annotated[int, msgspec.Meta(ge=1, le=64)] = 1
    head_timeout_s: Seconds = 10
    body_timeout_s: Seconds = 10
    write_timeout_s: Seconds = 10
    keepalive_timeout_s: Seconds = 75
    max_connections: Count = 10_000
    max_unverified_per_10_s: Count = 1000
    trusted_proxies: tuple[str, ...] = ()
    drain_s: Annotated[float, msgspec.Meta(ge=0, le=3600)] = 0
    shutdown_s: Seconds = 20
