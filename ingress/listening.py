"""What the ingress listens with: its sockets, its certificate, and how many files it may open."""

import resource
import socket
import ssl
import stat
from contextlib import suppress
from pathlib import Path

import msgspec

from hookline.aio.certificates import use_certificate
from hookline.ingress.settings import IngressSettings
from hookline.schemas.errors import SettingsError

BOTH_FAMILIES = "::"
_OTHER_FILES = 128  # the broker's, the store's, the log; beyond those that libraries open, which only grow with workers
_FILES_ON_MACOS = 10_240  # its OPEN_MAX: it says that there is no hard limit, and then allows as many (setrlimit(2))
_TLS_BYTES = 65_536  # what a connection holds at least, even an idle one


def listening_sockets(host: str, port: int, *, shared: bool) -> list[socket.socket]:
    """Sockets that are bound to the port, one for each address of the host; `::` takes IPv4, too. Raises OSError.

    `shared` lets other processes of this user bind the port as well.
    """
    bound: list[socket.socket] = []
    try:
        for family, kind, protocol, _, address in dict.fromkeys(_addresses(host, port)):
            listener = socket.socket(family, kind, protocol)
            bound.append(listener)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if shared:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(host != BOTH_FAMILIES))
            listener.bind(address)
    except OSError:
        for listener in bound:
            listener.close()
        raise
    return bound


def _addresses(
    host: str, port: int
) -> list[tuple[socket.AddressFamily, socket.SocketKind, int, str, tuple[str, int] | tuple[str, int, int, int]]]:
    return socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)  # type: ignore[return-value]  # the address of another family has another form


def server_context(certificate: str, key: str) -> ssl.SSLContext:
    """TLS 1.2 or newer with this certificate; its key may be in the same file. Raises SettingsError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION  # OpenSSL 1.1 does as many handshakes as a client asks for
    context.set_alpn_protocols(["http/1.1"])
    load_certificate(context, certificate, key)
    return context


def load_certificate(context: ssl.SSLContext, certificate: str, key: str) -> None:
    """Use this certificate for the next connections. Raises SettingsError, and then keeps the one before."""
    check_certificate(certificate, key)  # a failure would spoil the context
    _load(context, certificate, key)


def check_certificate(certificate: str, key: str) -> None:
    """Raise SettingsError unless the files hold a certificate and its key, or none is named."""
    if not certificate:
        return
    for name, path in (("tls_certificate", certificate), ("tls_key", key)):
        if path and not _is_file(name, path):
            raise SettingsError(f"ingress.{name}: {path} is not a file")
    _load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), certificate, key)


def _is_file(name: str, path: str) -> bool:
    try:
        return stat.S_ISREG(Path(path).stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise SettingsError(f"ingress.{name}: {path} cannot be read: {error.strerror}") from None


def _load(context: ssl.SSLContext, certificate: str, key: str) -> None:
    try:
        use_certificate(context, certificate, key)
    except ValueError as error:
        raise SettingsError(f"ingress.tls_certificate: {certificate} {error}") from None


def raise_file_limit() -> int:
    """Let the process open as many files as it may; returns how many that is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == hard:
        return hard
    for files in (hard, max(soft, _FILES_ON_MACOS)):
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))
            return files
    return soft


def within_files(settings: IngressSettings, max_files: int) -> IngressSettings:
    """The settings with as many connections as fit if the process may open so many files; with TLS, into memory, too.

    One address gets at most half of them, so that it closes its own connections before those of others.
    """
    fitting = settings.max_connections
    if settings.tls_certificate:
        fitting = min(fitting, settings.max_bytes_in_flight // _TLS_BYTES)
    if max_files > 0:
        fitting = max(1, min(fitting, max_files - _OTHER_FILES))
    of_one = min(settings.max_connections_per_address, max(1, fitting // 2))
    return msgspec.structs.replace(settings, max_connections=fitting, max_connections_per_address=of_one)
