"""The options of `hookline dead`, `hookline unrouted` and `hookline retrying`: filters and confirmations."""

from collections.abc import Callable
from typing import Any

import click

from hookline.cli.known_names import one_of
from hookline.cli.options import as_moment, as_pattern, as_queue

Option = Callable[[Any], Any]


def filters(time: str) -> tuple[Option, ...]:
    """The options that select messages. `time` says which of their times is compared."""
    return (
        click.option("--provider", help="Only from this provider."),
        click.option("--source", help="Only from this source."),
        click.option("--topic", callback=as_pattern, metavar="PATTERN",
                     help="Only topics that match: * is one word, # is any number of words."),
        click.option("--subject", help="Only with this subject: a room or a recording task."),
        click.option("--since", callback=as_moment, metavar="TIME",
                     help=f"Only those {time} at this time or later: 2h (ago), or ISO 8601 with a time zone."),
        click.option("--until", callback=as_moment, metavar="TIME", help=f"Only those {time} at this time or earlier."),
        click.option("--id", "ids", multiple=True,
                     help="Only the event with this id. Can be given several times."),
        click.option("--limit", type=click.IntRange(1), help="At most this many, the oldest first."),
    )  # fmt: skip


def queue_argument(*, required: bool) -> Option:
    return click.argument("queue", required=required, callback=as_queue)


def reason_option(known: tuple[str, ...]) -> Option:
    return click.option(
        "--reason", callback=one_of("reason", known), help=f"Only with this reason: {', '.join(known)}."
    )


DRY_RUN = click.option("--dry-run", is_flag=True, help="Change nothing. Show what would be done.")
RAW = click.option("--raw", is_flag=True, help="Write only the body of one message, byte for byte.")
YES = click.option("--yes", is_flag=True, help="Do not ask.")
