"""What aiohttp's parser accepts, and how its errors are answered. None of it quotes the request."""

from aiohttp.http_exceptions import LineTooLong

from hookline.schemas.errors import MalformedRequest

MAX_LINE_BYTES = 8190
MAX_FIELD_BYTES = 8192  # differs from that of a line, so that the parser's error shows which of the two was exceeded
MAX_HEADERS = 64
_INVALID = "this is not a valid HTTP request"
_TLS = "the sender speaks TLS, and this port does not: does the URL in the console begin with https?"


def refusal_of(error: BaseException | None) -> tuple[MalformedRequest, int]:
    """The refusal of what the parser does not accept, and its status. Only the operator reads that TLS was spoken."""
    speaks_tls = str(getattr(error, "message", "")).startswith("Received HTTPS traffic")
    return MalformedRequest(_INVALID, for_operator=_TLS if speaks_tls else _INVALID), _status(error)


def _status(error: BaseException | None) -> int:
    if isinstance(error, LineTooLong):
        return 414 if error.args[1] == MAX_LINE_BYTES else 431
    return 431 if str(error).find("Too many headers") >= 0 else 400
