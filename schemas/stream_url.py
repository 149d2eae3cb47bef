"""The addresses of streams: what they are called without the key that lets anybody send or watch."""

from typing import Literal, TypeAlias
from urllib.parse import urlsplit, urlunsplit

Scheme: TypeAlias = Literal["rtmp", "hls", "srt"]

_RTMP = ("rtmp", "rtmps", "rtmpt", "rtmpe")


def without_key(url: str | None, *, key_is_apart: bool = False) -> str | None:
    """A URL without its query, its user, and for RTMP the last part of its path, which is the key there.

    With `key_is_apart` the path has no key. None for an absent or empty URL, and for one that cannot be read.
    """
    if not url:
        return None
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    path = parts.path
    if parts.scheme.lower() in _RTMP and not key_is_apart:
        path = path.rpartition("/")[0]
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], path, "", "")) or None


def scheme_of(url: str | None) -> Scheme | None:
    """The protocol that a URL names, where it is one of those that canonical events know."""
    scheme, _, rest = (url or "").partition("://")
    match scheme.lower():
        case "rtmp" | "rtmps" | "rtmpt" | "rtmpe":
            return "rtmp"
        case "srt":
            return "srt"
        case "http" | "https" if rest.partition("?")[0].lower().endswith(".m3u8"):
            return "hls"
        case _:
            return None
