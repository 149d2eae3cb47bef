"""Draws the pages. Jinja2 escapes every text; what is not printable is shown as its code."""

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any
from urllib.parse import urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from hookline.age import age_text, time_text
from hookline.runtime.logs import printable

_LINE_ENDS = ("\n", "\t")


def render(name: str, /, **content: Any) -> str:
    """A page as HTML."""
    return _environment().get_template(f"{name}.html").render(now=datetime.now(UTC), **content)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("hookline.admin.inspector"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_final,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"time": _time, "ago": _ago, "age": age_text, "at_s": _at_s}
    environment.globals["url"] = _url
    return environment


def _final(value: Any) -> Any:
    """A text without characters that move the cursor, turn its direction or are invisible."""
    if value is None:
        return ""
    if isinstance(value, Markup) or not isinstance(value, str) or value.isprintable():
        return value
    return "".join(each if each in _LINE_ENDS else printable(each) for each in value)


def _time(time: datetime) -> str:
    return time_text(time, UTC)


def _ago(time: datetime, now: datetime) -> str:
    seconds = (now - time).total_seconds()
    return f"{age_text(seconds)} ago" if seconds >= 0 else f"in {age_text(-seconds)}"


def _at_s(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _url(path: str, **query: Any) -> str:
    """The URL of a page of ours."""
    given: Mapping[str, Any] = {name: value for name, value in query.items() if value not in (None, "")}
    return f"{path}?{urlencode(given)}" if given else path
