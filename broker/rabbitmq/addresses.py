"""The addresses of RabbitMQ: one, or one for each node of a cluster."""

import random
import ssl
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from yarl import URL

from hookline.aio.certificates import client_context
from hookline.schemas.errors import SettingsError

_PORTS = {"amqp": 5672, "amqps": 5671}
_FILES = frozenset({"cafile", "certfile", "keyfile"})
_OPTIONS = _FILES | {"auth"}
_TAKES_FILES = ", ".join(sorted(_FILES))
_SYSTEM = ssl.get_default_verify_paths()
_AUTHORITIES = _SYSTEM.cafile or _SYSTEM.capath or ""
"""The system's authorities: a file, or a folder of them."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a node listens, with the user and password for it, which no text shows."""

    url: URL = field(repr=False)

    @classmethod
    def read(cls, text: str, folder: Path | None = None) -> "Address":
        """Raises SettingsError for a malformed address. The error does not repeat it: it may hold a password.

        Relative paths of files begin at `folder`.
        """
        url = _url(text)
        for name in url.query:
            if name not in _OPTIONS:
                raise SettingsError(f"broker.url: there is no option {name}; there are {', '.join(sorted(_OPTIONS))}")
        if _FILES & set(url.query) and url.scheme != "amqps":
            raise SettingsError(f"broker.url: {_TAKES_FILES} need amqps://, which is TLS")
        if "keyfile" in url.query and "certfile" not in url.query:
            raise SettingsError("broker.url: keyfile is the key of a certfile, and there is none")
        files = {name: _file(name, url.query[name], folder) for name in _FILES & set(url.query)}
        address = cls(url.update_query(files))
        if files:
            address.tls_context()
        return address

    @property
    def has_tls(self) -> bool:
        return self.url.scheme == "amqps"

    def tls_context(self) -> ssl.SSLContext:
        """Verifies the server, and has the client's certificate. It reads files that have changed, which blocks.

        Raises SettingsError for a file that cannot be used.
        """
        authority, certificate, key = (self.url.query.get(name, "") for name in ("cafile", "certfile", "keyfile"))
        try:
            changed_ns = tuple(map(_changed_ns, (authority or _AUTHORITIES, certificate, key)))
            return _context(authority, certificate, key, changed_ns)
        except ValueError as error:
            raise SettingsError(f"broker.url: {error}") from None

    @property
    def place(self) -> str:
        """Host and port, for logs and errors."""
        host = str(self.url.host)
        return f"{f'[{host}]' if ':' in host else host}:{self.url.port or _PORTS[self.url.scheme]}"


@lru_cache(maxsize=8)  # one for each try to connect would take most of a megabyte until garbage is collected
def _context(authority: str, certificate: str, key: str, _: tuple[int, ...]) -> ssl.SSLContext:
    """Raises ValueError, which is not remembered."""
    return client_context(authority, certificate, key, ("cafile", "certfile"))


def _changed_ns(file: str) -> int:
    """When a file has changed, or what is in a folder; 0 if there is none."""
    try:
        return Path(file).stat().st_mtime_ns if file else 0
    except OSError:
        return 0


class Addresses:
    """Addresses that are tried in turn. Each connection begins at a random one, so a fleet spreads over the nodes."""

    def __init__(self, addresses: Sequence[Address]) -> None:
        self.replace(addresses)

    def replace(self, addresses: Sequence[Address]) -> None:
        self._addresses = deque(addresses)
        self._addresses.rotate(random.randrange(len(addresses)))  # noqa: S311  no secret

    def round(self) -> Iterator[Address]:
        """Each address once. The one that was used last is the first of the next round."""
        for _ in range(len(self._addresses)):
            yield self._addresses[0]
            self.pass_over()

    def pass_over(self) -> None:
        """Begin with the next address: this one failed."""
        self._addresses.rotate(-1)


def _url(text: str) -> URL:
    try:
        parts = urlsplit(text)
        url = URL(text) if _has_port(parts) else URL()
    except ValueError:
        parts, url = urlsplit(""), URL()
    if ("@" in text and "@" not in parts.netloc) or parts.fragment:
        raise SettingsError("broker.url: percent-encode characters such as / ? # in the password, or use ${NAME} there")
    if not _has_port(parts):
        raise SettingsError("broker.url: the port is a number from 1 to 65535")
    if url.scheme not in _PORTS or not url.host:
        raise SettingsError("broker.url is not of the form amqp://user:password@host/vhost")
    return url


def _has_port(parts: SplitResult) -> bool:
    """Whether the port can be one, or is left out."""
    try:
        return parts.port != 0
    except ValueError:
        return False


def _file(name: str, path: str, folder: Path | None) -> str:
    """Raises SettingsError for a file that cannot be read: the TLS library would not say which."""
    found = (folder or Path()) / path
    try:
        found.open("rb").close()
    except OSError as error:
        raise SettingsError(f"broker.url: {name} {found} cannot be read: {error.strerror}") from None
    return str(found)
