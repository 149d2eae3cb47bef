"""The settings of the ingress, the tables `[ingress]` and `[audit]`."""

from typing import Annotated

import msgspec

Seconds = Annotated[float, msgspec.Meta(gt=0, le=3600)]
CENTURY_S = 100 * 365 * 24 * 3600
Count = Annotated[int, msgspec.Meta(ge=1)]


class IngressSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the ingress listens, and its limits.

    `trusted_proxies` are the addresses (CIDR) of load balancers in front of it: `X-Forwarded-For` is believed from
    them only. `drain_s` is how long it serves after SIGTERM with readiness off, so that the load balancer notices;
    `shutdown_s` is how long requests in flight may then take. `write_timeout_s` is how long a client may take to read
    a response. `processes` share the port; every maximum applies to each of them. `max_bytes_in_flight` limits what
    requests hold in memory until they are answered. Behind trusted proxies `max_connections_per_address` limits the
    incomplete requests of each forwarded address. With `proxy_protocol`
    connections from trusted proxies begin with a header of the PROXY protocol. `tls_certificate` and `tls_key` are
    files in PEM form; the key may stand in the file of the certificate. `fast_lane` answers whole callbacks without a
    task of aiohttp's; off, all take the usual way.
    """

    host: str = "0.0.0.0"  # noqa: S104  providers call from outside
    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 8080
    processes: Annotated[int, msgspec.Meta(ge=1, le=64)] = 1
    head_timeout_s: Seconds = 10
    body_timeout_s: Seconds = 10
    write_timeout_s: Seconds = 10
    keepalive_timeout_s: Seconds = 75
    max_connections: Count = 10_000
    max_connections_per_address: Count = 5000
    max_bytes_in_flight: Annotated[int, msgspec.Meta(ge=2**20)] = 64 * 2**20
    max_unverified_per_10_s: Count = 1000
    trusted_proxies: tuple[str, ...] = ()
    proxy_protocol: bool = False
    tls_certificate: str = ""
    tls_key: str = ""
    drain_s: Annotated[float, msgspec.Meta(ge=0, le=3600)] = 0
    shutdown_s: Seconds = 20
    fast_lane: bool = True


class AuditSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The audit of refused requests, a SQLite file beside the settings. An empty `path` switches it off.

    `max_records` are kept of each reason of a source, in at most `max_bytes_per_source`, for at most `max_age_s`. The
    file takes at most `max_bytes`. After a burst of 20, `max_per_s` requests of each reason of a source are recorded by
    each process, and the others counted. `bodies` keeps bodies too, up to 64 KiB, cut to `max_body_bytes`. `requests`
    keeps whole requests of up to 64 KiB, with their signatures, so that they can be verified again.
    """

    path: str = "hookline-refused.db"
    max_records: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 100
    max_bytes_per_source: Annotated[int, msgspec.Meta(ge=2**16)] = 2**20
    max_bytes: Annotated[int, msgspec.Meta(ge=2**20, le=2**32)] = 16 * 2**20
    max_age_s: Annotated[float, msgspec.Meta(ge=60, le=CENTURY_S)] = 30 * 24 * 3600
    max_per_s: Annotated[float, msgspec.Meta(gt=0, le=100)] = 1
    bodies: bool = False
    requests: bool = False
    max_body_bytes: Annotated[int, msgspec.Meta(ge=1, le=2**20)] = 16 * 2**10
