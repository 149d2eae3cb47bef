"""The parameters of a query string, for providers that put their signature there."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from urllib.parse import quote, unquote_plus

from hookline.schemas.errors import BadSignature, MissingSignature

MAX_PARAMETERS = 64


@lru_cache(maxsize=256)  # each callback is asked several times, and all of one second are often signed alike
def parameters(query: str) -> Mapping[str, Sequence[str]]:
    """The values of each parameter, by its name in lower case. Raises BadSignature if there are too many."""
    fields = query.split("&")
    if len(fields) > MAX_PARAMETERS:
        raise BadSignature("the query has too many parameters")
    values: dict[str, list[str]] = {}
    for field in fields:  # urllib's parse_qsl takes three times as long
        name, _, value = field.partition("=")
        values.setdefault(_unquoted(name).lower(), []).append(_unquoted(value))
    return values


def _unquoted(text: str) -> str:
    """The text. Characters of another encoding, such as GBK, are replaced: nothing that we compare has any."""
    return unquote_plus(text, errors="replace") if "%" in text or "+" in text else text


@lru_cache(maxsize=256)
def without(query: str, names: frozenset[str]) -> str:
    """The query without the parameters of these names, which are in lower case. The result is ASCII."""
    fields = [field for field in query.split("&") if _unquoted(field.partition("=")[0]).lower() not in names]
    rest = "&".join(fields)
    return rest if rest.isascii() else quote(rest.encode("utf-8", "surrogateescape"), safe="&=%+!$'()*,/:;?@")


def parameter(values: Mapping[str, Sequence[str]], name: str) -> str:
    """The value of a parameter that the signature needs; the name is in lower case.

    Raises MissingSignature if it is absent or blank, BadSignature if it appears twice.
    """
    found = values.get(name, ())
    if not found or not found[0].strip():
        raise MissingSignature(f"the parameter {name} is missing")
    if len(found) > 1:
        raise BadSignature(f"the parameter {name} appears more than once")
    return found[0]
