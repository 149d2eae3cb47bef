"""Why RabbitMQ cannot be reached, as one sentence for an operator. It never repeats a text that may hold the URL."""

import os
import re
import ssl
from socket import gaierror

from aiormq.exceptions import AMQPError, AuthenticationError, ProbableAuthenticationError

from hookline.aio.causes import causes
from hookline.broker.rabbitmq.wire.connection_state import server_reason

NOT_RESOLVED = "the name cannot be resolved"
NOT_VALID = "the certificate is not valid for the name"
NOT_TRUSTED = "the certificate is not trusted"
TLS_FAILED = "TLS failed"

_LOGIN_REFUSED = "Login was refused"
_NAME_OF_CODE = re.compile(r"^\d+ [A-Z_]+ - ")
_CLOSED = "it closed the connection at once, as a proxy does without a server behind it"
CLOSED_OVER_TLS = f"{_CLOSED}, or a server that wants another client certificate"  # uvloop does not pass its alert on
_CLOSED_AT_ONCE = (StopAsyncIteration, EOFError, ConnectionResetError, BrokenPipeError)


def why_not_connected(error: BaseException | None, *, over_tls: bool) -> str:
    """What the server said, or what the network or TLS did."""
    for cause in causes(error):
        if said := server_reason(cause):
            return "it refused the user or password" if _LOGIN_REFUSED in said else _NAME_OF_CODE.sub("", said)
        if isinstance(cause, ProbableAuthenticationError):
            return "it refused the user or password"
        if isinstance(cause, AuthenticationError):
            return "it does not offer the way of authentication that broker.url asks for"
    for cause in causes(error):
        if why := _of_network(cause):
            return CLOSED_OVER_TLS if over_tls and why == _CLOSED else why
    return type(error).__name__ if error is not None else "the connection was lost"


def _of_network(error: BaseException) -> str:
    why = ""
    match error:
        case ssl.SSLCertVerificationError():
            why = _of_certificate(error)
        case ssl.SSLError():
            why = f"{TLS_FAILED}: {_words(error.reason)}"
        case gaierror():
            why = NOT_RESOLVED
        case TimeoutError():
            why = "no answer in time"
        case _ if isinstance(error, _CLOSED_AT_ONCE):
            why = _CLOSED
        case OSError() if not isinstance(error, AMQPError) and (number := _errno(error)):
            why = os.strerror(number).lower()
        case _:
            pass
    return why


def _errno(error: OSError) -> int:
    """The number of the error; the first one if a name has several addresses, whose errors come as one text."""
    found = re.search(r"\[Errno (\d+)\]", str(error))
    return error.errno or (int(found[1]) if found else 0)


def _of_certificate(error: ssl.SSLCertVerificationError) -> str:
    """OpenSSL's text names the name that was expected, and no secret."""
    text = str(error.verify_message)
    name = re.search(r"not valid for '([^']*)'", text)
    if name:
        return f"{NOT_VALID} {name[1]}"
    return f"{NOT_TRUSTED}: {text}"


def _words(reason: str | None) -> str:
    """OpenSSL's short text, such as WRONG_VERSION_NUMBER for a port without TLS."""
    return (reason or "no reason given").replace("_", " ").lower()
