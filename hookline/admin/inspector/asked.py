"""What a page is asked for: the query of a URL, or the fields of a form. Senders of links choose them."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TypeAlias
from urllib.parse import urlencode

from hookline.cli.options import moment
from hookline.schemas import topics
from hookline.schemas.dead_letters import UNROUTED
from hookline.schemas.events import EVENT_TYPES
from hookline.workers.event_log import Query

Asked: TypeAlias = Mapping[str, str]
PAGE = 50
_MAX_PAGE = 500


class WrongQuestion(ValueError):
    """The query of the URL cannot be answered; the text says why."""


SEARCHED = ("room", "user", "source", "topic", "since", "until")


def query_of(given: Asked) -> Query:
    topic = given.get("topic")
    if topic is not None and topic not in EVENT_TYPES:
        raise WrongQuestion(f"there is no topic {topic!r}")
    now = datetime.now(UTC)
    return Query(
        room_id=given.get("room"),
        user_id=given.get("user"),
        source=given.get("source"),
        topic=topic,
        since=_moment(given, "since", now),
        until=_moment(given, "until", now),
    )


def _moment(given: Asked, name: str, now: datetime) -> datetime | None:
    text = given.get(name)
    try:
        return None if text is None else moment(text, now)
    except ValueError as error:
        raise WrongQuestion(f"{name}: {error}") from None


def queue_of(asked: Asked) -> str:
    queue = needed(asked, "queue")
    try:
        return queue if queue == UNROUTED else topics.check_queue(queue)
    except ValueError as error:
        raise WrongQuestion(str(error)) from None


def needed(asked: Asked, name: str) -> str:
    text = asked.get(name, "")
    if not text:
        raise WrongQuestion(f"the query has no {name}")
    return text


def number_of(asked: Asked, name: str) -> int | None:
    text = asked.get(name, "")
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) < 19):
        raise WrongQuestion(f"{name} is no number")
    return int(text)


def limit_of(asked: Asked) -> int:
    limit = number_of(asked, "limit")
    if limit is not None and not 1 <= limit <= _MAX_PAGE:
        raise WrongQuestion(f"limit is not 1 to {_MAX_PAGE}")
    return PAGE if limit is None else limit


def next_query(asked: Asked, cursor: str | None) -> str:
    """The query of the next page; empty after the last one."""
    return urlencode({**asked, "cursor": cursor}) if cursor is not None else ""
