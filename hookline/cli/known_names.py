"""Tells an option that names nothing there is from one that selects nothing today."""

from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager

import click

from hookline.cli.output import leave
from hookline.schemas.broker import Broker
from hookline.schemas.errors import SettingsError, UnknownQueue, reasons_of_refusals
from hookline.schemas.near_names import nearest
from hookline.settings import Settings

PARKED_FOR = ("failed", "timeout", "retry", "poisoned", "crashed", "too_old", "unreadable", "unwanted", "broker")
"""Why a message is parked: by a worker, or by the broker's own limit."""
RETRIED_FOR = ("failed", "timeout", "retry", "busy", "unreachable", "unwanted")
"""Why a message waits for its next attempt."""
REFUSAL_REASONS = reasons_of_refusals()
"""Why a request is refused."""


def one_of(noun: str, known: Collection[str]) -> Callable[[click.Context, click.Parameter, str | None], str | None]:
    """A callback for an option that names one of these."""

    def check(context: click.Context, parameter: click.Parameter, text: str | None) -> str | None:
        if text is not None and text not in known:
            raise click.BadParameter(unknown(noun, text, known), context, parameter)
        return text

    return check


def leave_if_unknown(settings: Settings, *, provider: str | None, source: str | None) -> None:
    """End the command if it found nothing because the settings have no such provider or source.

    Call it only if nothing was found: what is stored may come from a source that is no longer in the settings.
    """
    for noun, name, known in (("provider", provider, settings.providers), ("source", source, settings.source_names)):
        if name is not None and name not in known:
            leave(f"{unknown(noun, name, known)} ({settings.path})")


@asynccontextmanager
async def naming_queues(broker: Broker) -> AsyncIterator[Broker]:
    """The broker. The sentence about an unknown queue names those that there are, as SettingsError."""
    try:
        yield broker
    except UnknownQueue as error:
        known = await broker.queue_states.names()
        sentence = unknown("queue", error.queue, known)
        raise SettingsError(f"{sentence}; a worker's queue is there once the worker has started") from None


def unknown(noun: str, name: str, known: Collection[str]) -> str:
    """A sentence for a name that does not exist."""
    near = nearest(name, known)
    hint = f"did you mean {near}?" if near else f"there are {', '.join(known)}" if known else "there is none"
    return f"there is no {noun} {name!r}; {hint}"
