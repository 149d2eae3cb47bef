"""`hookline dead`, `unrouted` and `retrying`: what could not be handled, what no queue wanted, what is tried again."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import click

from hookline.cli.known_names import PARKED_FOR, RETRIED_FOR
from hookline.cli.message_actions import (
    DEAD,
    NOT_WANTED,
    RETRYING,
    Kind,
    drop_messages,
    list_messages,
    make_due,
    replay_dead,
    replay_unrouted,
    show_messages,
)
from hookline.cli.message_options import DRY_RUN, RAW, YES, Option, filters, queue_argument, reason_option
from hookline.cli.message_selection import MessageFilter
from hookline.cli.options import config_option, json_option
from hookline.schemas.dead_letters import UNROUTED

_AN_ID = "--id 0d7f9225e4d20093946bc69519b09046"


@click.group(
    epilog="""\b
    Examples:
      hookline dead list       the queues that have dead letters
      hookline dead show billing
      hookline dead replay billing --since 2h --reason failed
    """
)
def dead() -> None:
    """List, show, replay or drop dead letters.

    A dead letter is an event that a worker could not handle. It is kept with the reason and the traceback.
    """


@click.group(
    epilog="""\b
    Examples:
      hookline unrouted list --since 1d
      hookline unrouted replay --topic "*.*.recording.*"
    """
)
def unrouted() -> None:
    """List, show, replay or drop unrouted events.

    An unrouted event is one that no queue wanted when it was received. It is kept until you replay or drop it, or there
    are more than unrouted.max_events.
    """


@click.group(
    epilog="""\b
    Examples:
      hookline retrying list                       the queues in which events wait
      hookline retrying show billing
      hookline retrying now billing --reason failed
    """
)
def retrying() -> None:
    """List, show or drop what waits for its next attempt, or have it tried now.

    An event whose handling failed waits for its next attempt. It is kept with the last error. What an ordered worker
    tries again waits in its process and is not seen here.
    """


@dataclass(frozen=True, slots=True)
class _Command:
    """A command of one of the groups. `examples` are what follows its name, and the queue's."""

    name: str
    action: Callable[..., None]
    help: str
    options: Sequence[Option]
    examples: Sequence[str]


_DEAD_COMMANDS = (
    _Command(
        "list", list_messages,
        "List the dead letters of a queue, the oldest first. Without QUEUE, list the queues that have dead letters.",
        (), ("", "--since 2h", '--topic "krtc.*.room.*" --json'),
    ),
    _Command(
        "show", show_messages,
        "Show dead letters in full. That is reason, times, traceback, headers and body. Without --id or --limit, show "
        "the oldest that matches.",
        (RAW,), ("", _AN_ID, "--raw > body.json"),
    ),
    _Command(
        "replay", replay_dead,
        "Put dead letters back into their queue. No other queue gets them. Events that were handled in the meantime "
        "are not handled again, so you can interrupt this command and run it again.",
        (DRY_RUN,), ("--source krtc-main --dry-run", "--since 1d --limit 10"),
    ),
    _Command(
        "drop", drop_messages,
        "Delete dead letters for good. Asks for confirmation if there are several.",
        (DRY_RUN, YES), (_AN_ID, "--until 30d --dry-run", "--until 30d --yes"),
    ),
)  # fmt: skip
_UNROUTED_COMMANDS = (
    _Command(
        "list", list_messages,
        "List the unrouted events, the oldest first.",
        (), ("", "--since 2h", '--topic "krtc.*.room.*" --json'),
    ),
    _Command(
        "show", show_messages,
        "Show unrouted events in full. That is times, headers and body. Without --id or --limit, show the oldest that "
        "matches.",
        (RAW,), ("", _AN_ID, "--raw > body.json"),
    ),
    _Command(
        "replay", replay_unrouted,
        "Send unrouted events to all queues that want them now. Events that no queue wants yet are kept. You can "
        "interrupt this command and run it again: no event is handled twice.",
        (DRY_RUN,), ("--source krtc-main --dry-run", "--since 1d --limit 10"),
    ),
    _Command(
        "drop", drop_messages,
        "Delete unrouted events for good. Asks for confirmation if there are several.",
        (DRY_RUN, YES), (_AN_ID, "--until 30d --dry-run", "--until 30d --yes"),
    ),
)  # fmt: skip
_RETRYING_COMMANDS = (
    _Command(
        "list", list_messages,
        "List what waits in a queue for its next attempt, the shortest delay first. Without QUEUE, list the queues in "
        "which events wait.",
        (), ("", "--reason failed", '--topic "krtc.*.room.*" --json'),
    ),
    _Command(
        "show", show_messages,
        "Show events that wait in full. That is reason, next attempt, when it is due, the last error, headers and "
        "body. Without --id or --limit, show the one with the shortest delay that matches.",
        (RAW,), ("", _AN_ID, "--raw > body.json"),
    ),
    _Command(
        "now", make_due,
        "Have events tried now that wait for their next attempt. It counts as the attempt that it would have been "
        "later. You can interrupt this command and run it again: no event is lost or doubled.",
        (DRY_RUN,), ("", "--source krtc-main --dry-run", "--reason failed --limit 10"),
    ),
    _Command(
        "drop", drop_messages,
        "Delete events that wait for good. They are not handled, and are no dead letters. Asks for confirmation if "
        "there are several.",
        (DRY_RUN, YES), (_AN_ID, "--reason failed --dry-run", "--reason failed --yes"),
    ),
)  # fmt: skip


def _add(group: click.Group, kind: Kind[Any], command: _Command, selecting: Sequence[Option]) -> None:
    """Add a command. Those of a group without a queue argument are about the unrouted events."""
    queue = () if kind is NOT_WANTED else (queue_argument(required=command.name != "list"),)
    lines = [["hookline", group.name, command.name, "billing" * len(queue), each] for each in command.examples]
    examples = "\n".join("      " + " ".join(filter(None, words)) for words in lines)

    def run(**given: Any) -> None:
        chosen = _chosen(given)
        command.action(kind, **{"queue": UNROUTED, **given}, chosen=chosen)

    made: Any = run
    for option in reversed((*queue, *selecting, *command.options, json_option, config_option)):
        made = option(made)
    group.command(command.name, help=command.help, epilog=f"\b\n    Examples:\n{examples}")(made)


def _chosen(given: dict[str, Any]) -> MessageFilter:
    """The filter that the options make. They are taken out."""
    found: Mapping[str, Any] = {name: given.pop(name, None) for name in MessageFilter.__dataclass_fields__}
    return MessageFilter(**{**found, "ids": frozenset(found["ids"] or ())})


for _command in _DEAD_COMMANDS:
    _add(dead, DEAD, _command, (reason_option(PARKED_FOR), *filters("parked")))
for _command in _UNROUTED_COMMANDS:
    _add(unrouted, NOT_WANTED, _command, filters("received"))
for _command in _RETRYING_COMMANDS:
    _add(retrying, RETRYING, _command, (reason_option(RETRIED_FOR), *filters("received")))
