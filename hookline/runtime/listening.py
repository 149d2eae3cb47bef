"""What is said when the ingress cannot listen, with what to do."""

import errno
import socket
import ssl
import urllib.request

from hookline.schemas.errors import Unreachable

_ANSWER_S = 2.0
_REMEDIES = {
    errno.EADDRINUSE: "{owner} listens there; stop it, or {elsewhere}",
    errno.EACCES: "this user may not; a port of 1024 or above needs no right",
    errno.EADDRNOTAVAIL: "this machine has no such address; set host under [ingress]",
}


def cannot_listen(
    host: str, port: int, error: OSError, *, elsewhere: str = "set another port under [ingress]"
) -> Unreachable:
    """The error for an address on which the ingress cannot listen. `elsewhere` says how to choose another port."""
    if isinstance(error, socket.gaierror):
        return Unreachable(f"cannot listen on {host}:{port}: the name {host} has no address; set host under [ingress]")
    remedy = _REMEDIES.get(error.errno or 0)
    taken = error.errno == errno.EADDRINUSE and is_ingress(host, port)
    owner = "an ingress of Hookline already" if taken else "another program"
    cause = remedy.format(owner=owner, elsewhere=elsewhere) if remedy else error.strerror or str(error)
    return Unreachable(f"cannot listen on {host}:{port}: {cause}")


def is_ingress(host: str, port: int) -> bool:
    """Whether an ingress answers there, with TLS or without. Blocks for four seconds at most."""
    name = "127.0.0.1" if host in {"0.0.0.0", "::", ""} else host  # noqa: S104  it is compared
    place = f"[{name}]:{port}" if ":" in name else f"{name}:{port}"
    return any(_answers_as_hookline(f"{scheme}://{place}/healthz") for scheme in ("http", "https"))


def _answers_as_hookline(url: str) -> bool:
    anybody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # nothing is told to it
    anybody.check_hostname, anybody.verify_mode = False, ssl.CERT_NONE
    try:
        with urllib.request.urlopen(url, timeout=_ANSWER_S, context=anybody) as response:  # noqa: S310  of this machine
            return str(response.headers.get("Server")) == "hookline"
    except (OSError, ValueError):
        return False
