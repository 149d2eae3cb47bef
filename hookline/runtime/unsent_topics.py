"""Finds topics that a worker waits for and no source of the settings sends: a worker that never has an event."""

from collections.abc import Iterator
from typing import Any

from hookline.schemas import topics
from hookline.schemas.envelope import UNREADABLE
from hookline.schemas.events import Unknown, event_topic
from hookline.schemas.near_names import nearest
from hookline.schemas.provider import topics_of
from hookline.settings import Settings
from hookline.workers.api import Worker
from hookline.workers.declaration_checks import can_match

_SHOWN = 4


def unsent_topics(worker: Worker[Any], settings: Settings) -> Iterator[str]:
    """A sentence for each pattern of the worker that nothing can match. None where the settings name no sources."""
    for pattern in worker.patterns if settings.source_providers else ():
        if (fault := _fault(pattern, settings)) is not None:
            yield fault


def _fault(pattern: str, settings: Settings) -> str | None:
    provider, source = [*pattern.split("."), "#"][:2]
    if "#" in {provider, source}:
        return None
    heads = {f"{each}.{name}": each for name, each in settings.source_providers.items()}
    senders = {each for head, each in heads.items() if topics.matches(f"{provider}.{source}", head)}
    if not senders:
        near = nearest(f"{provider}.{source}", heads)
        return f"no source sends {pattern}; {f'did you mean {near}?' if near else _shown(list(heads))}"
    if provider != "*" and not _sends(provider, pattern, settings):
        return f"{provider} sends nothing that matches {pattern}; `hookline topics` shows what it sends"
    return None


def _sends(provider: str, pattern: str, settings: Settings) -> bool:
    declared = settings.providers[provider]
    events = {topic for theirs in declared.types for topic in topics_of(declared, theirs)}
    return any(can_match(pattern, event) for event in (*events, event_topic(Unknown), UNREADABLE))


def _shown(heads: list[str]) -> str:
    others = len(heads) - _SHOWN
    shown = heads if others <= 1 else heads[:_SHOWN]
    return f"topics begin with {', '.join(shown)}{f' and {others} others' if others > 1 else ''}"
