"""Tells an option that names nothing there is from one that selects nothing today."""

import difflib
import sys
from collections.abc import Collection

import click

from hookline.runtime.shutdown import ExitCode
from hookline.schemas.errors import reasons_of_refusals
from hookline.settings import Settings

REASONS = (
    "failed", "timeout", "retry", "poisoned", "crashed", "too_old", "unreadable", "unwanted", "broker", "unrouted",
)  # fmt: skip
"""Why a message is parked: by a worker, by the broker's own limit, or because no queue wanted it."""
REFUSAL_REASONS = reasons_of_refusals()
"""Why a request is refused."""


def check_reason(context: click.Context, parameter: click.Parameter, text: str | None) -> str | None:
    return _one_of(REASONS, context, parameter, text)


def check_refusal_reason(context: click.Context, parameter: click.Parameter, text: str | None) -> str | None:
    return _one_of(REFUSAL_REASONS, context, parameter, text)


def _one_of(known: Collection[str], context: click.Context, parameter: click.Parameter, text: str | None) -> str | None:
    if text is not None and text not in known:
        raise click.BadParameter(unknown("reason", text, known), context, parameter)
    return text


def leave_if_unknown(settings: Settings, *, provider: str | None, source: str | None) -> None:
    """End the command if it found nothing because the settings have no such provider or source.

    Call it only if nothing was found: what is stored may come from a source that is no longer in the settings.
    """
    for noun, name, known in (("provider", provider, settings.providers), ("source", source, settings.source_names)):
        if name is not None and name not in known:
            click.echo(f"hookline: {unknown(noun, name, known)} ({settings.path})", err=True)
            sys.exit(ExitCode.FAILED)


def unknown(noun: str, name: str, known: Collection[str]) -> str:
    """A sentence for a name that does not exist."""
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}" if known else "there is none"
    return f"there is no {noun} {name!r}; {hint}"
