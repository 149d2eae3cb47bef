"""Certificates with their keys, for TLS on either side."""

import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

_BEGIN, _END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
_VERSION, _UTC_TIME = 0xA0, 0x17
_VALIDITY = 3  # after the serial number, the algorithm and the issuer


def use_certificate(context: ssl.SSLContext, certificate: str, key: str) -> None:
    """Use a certificate with its key, which is in the same file if `key` is empty. Reads files, and asks nobody.

    Raises ValueError with a reason, which names no file.
    """
    try:
        context.load_cert_chain(certificate, key or None, password=_no_password)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise ValueError(f"cannot be used with its key: {_fault_of(error)}") from None


def client_context(authority: str, certificate: str, key: str, names: tuple[str, str]) -> ssl.SSLContext:
    """TLS that verifies the server by an authority, the system's if it is empty. The certificate may be empty, too.

    Raises ValueError with a sentence that names the file, and by `names` the options of authority and certificate.
    """
    try:
        context = ssl.create_default_context(cafile=authority or None)
    except (OSError, ValueError) as error:
        raise ValueError(f"{names[0]} {authority} cannot be used: {_fault_of(error)}") from None
    if certificate:
        try:
            use_certificate(context, certificate, key)
        except ValueError as error:
            raise ValueError(f"{names[1]} {certificate} {error}") from None
    return context


def ends_at(path: str) -> datetime:
    """When the first certificate of a file in PEM form ends (RFC 5280, 4.1.2.5). Python tells only of a peer's.

    Raises OSError, or ValueError if no certificate can be read there.
    """
    _, begin, rest = Path(path).read_text(errors="replace").partition(_BEGIN)
    der = ssl.PEM_cert_to_DER_cert(f"{begin}{rest.partition(_END)[0]}{_END}")
    try:
        return _end_of_validity(der)
    except IndexError:
        raise ValueError("it ends too early") from None


def _end_of_validity(der: bytes) -> datetime:
    ((_, certificate),) = _elements(der)
    fields = _elements(next(_elements(certificate))[1])
    without_version = [value for tag, value in fields if tag != _VERSION]
    _, (tag, value) = _elements(without_version[_VALIDITY])
    form = "%y%m%d%H%M%SZ" if tag == _UTC_TIME else "%Y%m%d%H%M%SZ"
    return datetime.strptime(value.decode(), form).replace(tzinfo=UTC)


def _elements(der: bytes) -> Iterator[tuple[int, bytes]]:
    """The tag and the content of each element of DER."""
    while der:
        tag, length, start = der[0], der[1], 2
        if length & 0x80:
            start += length & 0x7F
            length = int.from_bytes(der[2:start])
        yield tag, der[start : start + length]
        der = der[start + length :]


def _fault_of(error: OSError | ValueError) -> str:
    """What is wrong with a file that could not be loaded. OpenSSL gives no reason if it finds nothing in PEM form."""
    match error:
        case ssl.SSLError():
            return error.reason.replace("_", " ").lower() if error.reason else "a file is not in PEM form"
        case OSError():
            return error.strerror or type(error).__name__
        case _:
            return str(error)


def _no_password() -> str:
    """OpenSSL would ask at the terminal, and wait."""
    raise ValueError("the key is encrypted")
