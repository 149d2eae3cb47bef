"""The settings of the operator's port, the table `[admin]`."""

import re
from ipaddress import ip_address
from typing import Annotated

import msgspec

from hookline.settings_faults import is_web_address, own_host_fault
from hookline.settings_repr import HidesSecrets
from hookline.settings_secrets import token_fault

PORTS = 32
"""A process listens on the first free one of so many, from `port` on."""


SERVER = "hookline-admin"
"""What answers call the server: aiohttp would name itself, Python and both versions. An ingress has another name."""


class AdminSettings(HidesSecrets, frozen=True, forbid_unknown_fields=True):
    """Where metrics, health and inspector are served, in every role.

    If the port is taken, the next free one is used, up to 31 above it. Port 0 switches it off. A `host` other than
    loopback needs a `token`, which every request must have as `Authorization: Bearer …`. A browser logs in with it.
    Without a token, metrics and inspector are shown only to requests whose `Host` is an address, `localhost`, or one
    of `hosts`: the names that a proxy on this machine passes on.
    """

    secrets = frozenset({"token"})

    host: str = "127.0.0.1"
    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 9464
    token: str = ""
    hosts: tuple[str, ...] = ()

    @property
    def fault(self) -> str | None:
        """What is wrong, beginning with the key; None if nothing is."""
        if fault := own_host_fault(self.host):
            return f"host: {fault}"
        for name in self.hosts:
            if not _HOST_NAME.fullmatch(name):
                return (
                    f"hosts: expected names such as metrics.internal, without scheme, port and capitals, not {name!r}"
                )
        if self.token and (fault := token_fault(self.token)):
            return f"token: {fault}"
        if self.token and len(self.token) < _MIN_TOKEN:
            return f"token: it is shorter than {_MIN_TOKEN} characters"
        if self.port and not self.token and not is_loopback(self.host):
            return f'token: it is missing, and others can reach {self.host}; set one, or host = "127.0.0.1"'
        return None


class InspectorSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the inspector's pages on the operator's port show.

    With `bodies` they also show what callbacks say of people beside their ids: names, texts and whole bodies.
    """

    bodies: bool = False


class TracingSettings(HidesSecrets, frozen=True, forbid_unknown_fields=True):
    """Where traces are sent: the address of a collector that takes OTLP over HTTP. An empty one switches them off.

    `sample_percent` is how many of the requests without a trace of their caller get one.
    """

    secrets = frozenset({"endpoint"})

    endpoint: str = ""
    sample_percent: Annotated[float, msgspec.Meta(ge=0, le=100)] = 100

    @property
    def fault(self) -> str | None:
        """What is wrong, beginning with the key; None if nothing is."""
        if self.endpoint and not is_web_address(self.endpoint):
            return "endpoint: expected the address of an OTLP collector, such as http://127.0.0.1:4318"
        return None


_MIN_TOKEN = 16
_HOST_NAME = re.compile(r"[a-z0-9_]([a-z0-9_.-]{0,251}[a-z0-9_])?")


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address. A name other than `localhost` may be anybody's."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
