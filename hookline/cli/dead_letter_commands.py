"""What an operator does with letters: list, show, replay, drop."""

import sys
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager

import click

from hookline.cli.dead_letter_selection import Picker, Wanted
from hookline.runtime.installation import Installation
from hookline.schemas.broker import DeadLetters
from hookline.schemas.dead_letters import Action, DeadLetter
from hookline.settings import Settings

_MANY = 20
Notify = Callable[[DeadLetter], None]


@asynccontextmanager
async def letters_of(settings: Settings) -> AsyncIterator[DeadLetters]:
    async with Installation(settings) as installation:
        yield (await installation.broker()).dead_letters


async def counts(settings: Settings) -> dict[str, int]:
    """The queues that have dead letters, and how many."""
    async with letters_of(settings) as letters:
        return dict(await letters.counts())


async def look(settings: Settings, queue: str, wanted: Wanted, notify: Notify) -> int:
    """Notify of each letter that is wanted; how many there were."""
    async with letters_of(settings) as letters:
        return await _pass(letters, queue, wanted, Action.KEEP, notify)


async def move(settings: Settings, queue: str, wanted: Wanted, action: Action, label: str) -> tuple[int, int]:
    """Replay or drop what is wanted; how many that was, and how many letters are left."""
    async with letters_of(settings) as letters:
        length = await letters.count(queue)
        with click.progressbar(length=length, label=label, file=sys.stderr, hidden=_is_hidden(length)) as bar:
            moved = await _pass(letters, queue, wanted, action, lambda _: None, lambda: bar.update(1))
        return moved, await letters.count(queue)


async def _pass(
    letters: DeadLetters,
    queue: str,
    wanted: Wanted,
    action: Action,
    notify: Notify,
    passed: Callable[[], None] = lambda: None,
) -> int:
    """Go through a queue until its end, or until as many were found as are wanted."""
    deciding, counting, found = Picker(wanted, action), Picker(wanted, action), 0
    async with aclosing(letters.scan(queue, deciding)) as scanning:
        async for scanned in scanning:
            if counting.picks(scanned.dead_letter) and scanned.action is action:
                found += 1
                notify(scanned.dead_letter)
            passed()
            if counting.is_full:
                break
    return found


def _is_hidden(length: int) -> bool:
    return length < _MANY or not sys.stderr.isatty()
