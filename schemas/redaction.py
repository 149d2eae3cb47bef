"""Hides what must not be kept: the values of secret fields, of unknown headers, and of query parameters.

Fields of a body are named by what to hide, since most of them hold the facts of an event. Headers and parameters are
named by what to show: any of them may carry a signature or a token, and few of them say anything else.
"""

import re
from collections.abc import Collection, Iterable
from typing import Any
from urllib.parse import unquote_plus

import msgspec

from hookline.schemas.errors import Unreadable
from hookline.schemas.form import form_fields

HIDDEN = "***"
SHOWN_HEADERS = frozenset(
    {
        *("accept", "accept-encoding", "cache-control", "connection", "content-encoding", "content-length"),
        *("content-type", "date", "expect", "forwarded", "host", "pragma", "transfer-encoding", "upgrade"),
        *("user-agent", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-port", "x-forwarded-proto"),
        *("x-real-ip", "x-request-id"),
    }
)
"""Headers of HTTP itself and of proxies, in lower case."""

_MAX_DEPTH = 64
_MAX_VALUE_CHARACTERS = 256
_UNPRINTABLE = re.compile(r"[^\x20-\x7e]")
_NO_NAMES: frozenset[str] = frozenset()


def redacted(content: Any, secret_fields: Collection[str]) -> Any:
    """Decoded JSON with the values of these fields hidden, at any depth, also in JSON within a text.

    The names are in lower case, and fit in any case.
    """
    return _redacted(content, secret_fields, 0) if secret_fields else content


def _redacted(content: Any, names: Collection[str], depth: int) -> Any:
    if depth > _MAX_DEPTH:
        return HIDDEN
    match content:
        case dict():
            return {
                name: HIDDEN if name.lower() in names and value else _redacted(value, names, depth + 1)
                for name, value in content.items()
            }
        case list():
            return [_redacted(part, names, depth + 1) for part in content]
        case str() if content[:1] in ("{", "[") and any(name in content.lower() for name in names):
            return _redacted_text(content, names, depth)
        case _:
            return content


def _redacted_text(text: str, names: Collection[str], depth: int) -> str:
    """JSON in a text, hidden as a whole if it names a secret field and cannot be read."""
    try:
        content = msgspec.json.decode(text)
    except (ValueError, RecursionError):
        return HIDDEN
    return msgspec.json.encode(_redacted(content, names, depth + 1)).decode()


def redacted_body(body: bytes, secret_fields: Collection[str], max_bytes: int, *, is_form: bool = False) -> str | None:
    """The text of a body with these fields hidden, cut to a length. A form is shown as JSON.

    None for what cannot be read: nobody can say where in it a secret is.
    """
    try:
        content = dict(form_fields(body)) if is_form else msgspec.json.decode(body)
    except (ValueError, RecursionError, Unreadable):
        return None
    return msgspec.json.encode(redacted(content, secret_fields))[:max_bytes].decode(errors="ignore")


def redacted_headers(
    headers: Iterable[tuple[str, str]], shown: Collection[str] = _NO_NAMES, max_headers: int = 64
) -> tuple[tuple[str, str], ...]:
    """Names and values of headers. Only known harmless ones, and those named in lower case, have readable values."""
    pairs = list(headers)[:max_headers]
    return tuple(
        (_plain(name), _plain(value) if name.lower() in SHOWN_HEADERS or name.lower() in shown else _hidden(value))
        for name, value in pairs
    )


def redacted_query(query: str, shown: Collection[str] = _NO_NAMES, max_parameters: int = 32) -> str:
    """A query string in which only the values of parameters named in lower case are readable."""
    return "&".join(_parameter(field, shown) for field in query.split("&", max_parameters)[:max_parameters])


def _parameter(field: str, shown: Collection[str]) -> str:
    name, equals, value = field.partition("=")
    if not equals:  # a value without a name, such as a token
        return _hidden(field) if field else ""
    return f"{_plain(name)}={_plain(value) if unquote_plus(name).lower() in shown else _hidden(value)}"


def _hidden(value: str) -> str:
    """What stands for a hidden value: its length helps to find a cut or an empty one."""
    return f"{HIDDEN} ({len(value)} characters)" if value else ""


def _plain(text: str) -> str:
    """Printable ASCII of bounded length, so that nothing can move a cursor or fill a disk."""
    return plain(text, _MAX_VALUE_CHARACTERS)


def plain(text: str, max_characters: int) -> str:
    """Printable ASCII of a bounded length; other characters become `?`."""
    return _UNPRINTABLE.sub("?", text[:max_characters])
