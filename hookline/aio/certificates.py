"""Certificates with their keys, for TLS on either side."""

import ssl


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
