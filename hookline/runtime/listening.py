"""What is said when the ingress cannot listen, with what to do."""

import errno
import socket

from hookline.schemas.errors import Unreachable

_REMEDIES = {
    errno.EADDRINUSE: "another program listens there; stop it, or {elsewhere}",
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
    cause = remedy.format(elsewhere=elsewhere) if remedy else error.strerror or str(error)
    return Unreachable(f"cannot listen on {host}:{port}: {cause}")
