"""Says where a request that was refused belongs: to another source, by its signature, or to another path."""

from collections.abc import Iterable
from dataclasses import replace

from hookline.schemas.errors import Refused, StaleTimestamp
from hookline.schemas.near_names import nearest
from hookline.schemas.provider import AnySource, Request

MAX_SOURCES = 64
MAX_BYTES = 64 * 2**10
_MAX_PATH_CHARACTERS = 128


def fitting_sources(request: Request, source: AnySource, others: Iterable[AnySource], now_s: float) -> tuple[str, ...]:
    """The names of other sources, of any provider, of which a secret fits this request to `source`.

    At most 64 of them are tried, and no request above 64 KiB: each costs as much as a callback.
    """
    if len(request.body) > MAX_BYTES:
        return ()
    tried = [each for each in others if each.name != source.name and each.keys][:MAX_SOURCES]
    return tuple(each.name for each in tried if _fits(request, source, each, now_s))


def misplaced(names: Iterable[str]) -> str:
    """What may have gone wrong with a request that a secret of these sources fits; "" without any."""
    text = " and ".join(names)
    return f"a secret of {text} fits: is the URL or the secret that of another source?" if text else ""


def with_hints(said: str, *hints: str) -> str:
    """What is said of a refusal, with what may be the cause."""
    text = said
    for hint in filter(None, hints):
        text += f" {hint[0].upper()}{hint[1:]}" if text.endswith("?") else f"; {hint}"
    return text


def nearest_path(path: str, names: Iterable[str]) -> str:
    """What may have been meant by a path that no source has; "" if it is like none."""
    last = path[:_MAX_PATH_CHARACTERS].rstrip("/").rpartition("/")[2]
    near = nearest(last, names)  # the rest of the path is the same for all sources, and often a proxy's
    return f"did you mean /hooks/{near}?" if near else ""


def _fits(request: Request, source: AnySource, other: AnySource, now_s: float) -> bool:
    """Whether the request is genuine for the other source, or for this one with the other one's secrets."""
    asked = [other, replace(source, keys=other.keys)]  # secrets are mixed up in the settings, too, of two providers
    return any([is_genuine(request, each, now_s) for each in asked])  # noqa: C419  all, always: time must tell nothing


def is_genuine(request: Request, source: AnySource, now_s: float) -> bool:
    """Whether a secret of the source fits, however old the time stamp is."""
    try:
        source.provider.verify(request, source, now_s)
    except StaleTimestamp:  # checked after the signature
        return True
    except Refused:
        return False
    except Exception:  # noqa: BLE001  a fault of a provider of the user's own must not concern this request
        return False
    return True
