"""Feeding a worker's queue what was received in the past."""

from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime

from hookline.schemas import topics
from hookline.schemas.broker import History
from hookline.schemas.envelope import Envelope


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which of the past's envelopes are fed; what is None leaves it open."""

    since: datetime
    until: datetime
    pattern: str = "#"
    source: str | None = None
    subject: str | None = None

    def includes(self, envelope: Envelope) -> bool:
        return (
            self.source in (None, envelope.source)
            and self.subject in (None, envelope.subject)
            and topics.matches(topics.binding(self.pattern), envelope.routing_key)
        )


@dataclass(slots=True)
class Progress:
    """How far it has come: how many were fed of each topic, and when the last of the page was received."""

    topics: Counter[str] = field(default_factory=Counter)
    reached: datetime | None = None


async def replay(
    history: History,
    queue: str,
    wanted: Wanted,
    headers: Mapping[str, str] | None,
    progress: Progress,
    notify: Callable[[], None],
) -> None:
    """Feed a queue what it wants of the past, with these headers besides; without headers only count it.

    `progress` is kept up to date, and `notify` called after each page. What the queue is not bound to is not fed to it.
    Raises SettingsError if there is no such queue or no history, Unreachable or NotDurable.
    """
    keys = await history.wanted_by(queue)
    async with aclosing(history.read(wanted.since, wanted.until)) as pages:
        async for page in pages:
            chosen = [envelope for envelope in page if wanted.includes(envelope) and _is_wanted(envelope, keys)]
            if headers is not None and chosen:
                await history.feed(queue, chosen, headers)
            progress.topics.update(envelope.topic for envelope in chosen)
            if page:
                progress.reached = page[-1].received_at
            notify()


def _is_wanted(envelope: Envelope, keys: frozenset[str]) -> bool:
    return any(topics.matches(key, envelope.routing_key) for key in keys)
