"""The settings file that `hookline init` writes."""

import secrets
from base64 import b64encode
from typing import Any

from hookline.schemas.provider import Provider
from hookline.schemas.providers import catalogue

_HEAD = """\
# Settings of Hookline. Keys that are not here have defaults. An unknown key stops the start.
# "${NAME}" takes a value from the environment, "file:/run/secrets/name" from a file.

[broker]
url = "sqlite:hookline.db"        # or "amqp://user:password@host/vhost" for RabbitMQ; a list of those for a cluster

# [spool]                           # with RabbitMQ: what it does not confirm within after_s is kept on disk
# path = "hookline-spool"
# after_s = 1.0

[store]
url = "sqlite:hookline.db"        # completed events and the room view; or "redis://…", "postgresql://…"
ttl_s = 2764800                   # how long it remembers them: longer than any provider may send an event again

[ingress]
host = "127.0.0.1"                # of this machine, as for a proxy or a tunnel on it; "0.0.0.0" lets others connect
port = 8080
# processes = 4                     # this many processes share the port; each uses one core
# trusted_proxies = ["10.0.0.0/8"]  # load balancers that say who called

# [admin]                           # metrics and health of each process: http://127.0.0.1:9464/metrics
# host = "0.0.0.0"                  # for a Prometheus elsewhere; needs the token
# token = "file:hookline-token"     # at least 16 characters, such as those of `openssl rand -hex 16`

# One table for each account at a provider. Its name is part of its URL, POST /hooks/<name>.
# secrets: any of them verifies a callback, so you can add a new secret before you remove the old one. These are random.
# Replace them with the provider's, or keep them to try things out: `hookline send` signs with them.
# provider: one of those below, or "package.module:PROVIDER" for your own.
# Also: tolerance_s (maximum age of a signed time stamp), allow_from (addresses as CIDR), max_body_bytes.
"""


def settings_file() -> str:
    """A commented file with one source for each provider and fresh secrets."""
    return "\n".join([_HEAD, *(source_table(each, _fresh_secret()) for each in catalogue().values())])


def _fresh_secret() -> str:
    """In base64, since some providers issue nothing else."""
    return b64encode(secrets.token_bytes(24)).decode()


def source_table(provider: Provider[Any], secret: str) -> str:
    """The table of a source of this provider, with the settings of its example."""
    own = "".join(f"{key} = {_toml(value)}\n" for key, value in provider.example.settings.items())
    return (
        f"[sources.{provider.example.source}]\n"
        f'provider = "{provider.name}"'
        f"  # {provider.title}\n{own}"
        f'secrets = ["{secret}"]\n'
    )


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)
