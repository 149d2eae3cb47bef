"""What an operator does with letters: list, show, replay, drop."""

import sys
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager

import click

from hookline.cli.dead_letter_selection import Picker, Wanted
from hookline.runtime.installation import Installation
from hookline.schemas.broker import Letters
from hookline.schemas.dead_letters import Choice, Letter
from hookline.settings import Settings

_MANY = 20
Tell = Callable[[Letter], None]


@asynccontextmanager
async def letters_of(settings: Settings) -> AsyncIterator[Letters]:
    async with Installation(settings) as installation:
        yield (await installation.broker()).letters


async def counts(settings: Settings) -> dict[str, int]:
    """The queues that have dead letters, and how many."""
    async with letters_of(settings) as letters:
        return dict(await letters.counts())


async def look(settings: Settings, queue: str, wanted: Wanted, tell: Tell) -> int:
    """Tell of each letter that is wanted; how many there were."""
    async with letters_of(settings) as letters:
        return await _pass(letters, queue, wanted, Choice.KEEP, tell)


async def move(settings: Settings, queue: str, wanted: Wanted, choice: Choice, label: str) -> tuple[int, int]:
    """Replay or drop what is wanted; how many that was, and how many letters are left."""
    async with letters_of(settings) as letters:
        length = await letters.count(queue)
        with click.progressbar(length=length, label=label, file=sys.stderr, hidden=_is_hidden(length)) as bar:
            moved = await _pass(letters, queue, wanted, choice, lambda _: None, lambda: bar.update(1))
        return moved, await letters.count(queue)


async def _pass(
    letters: Letters,
    queue: str,
    wanted: Wanted,
    choice: Choice,
    tell: Tell,
    passed: Callable[[], None] = lambda: None,
) -> int:
    """Go through a queue until its end, or until as many were found as are wanted."""
    deciding, counting, found = Picker(wanted, choice), Picker(wanted, choice), 0
    async with aclosing(letters.sift(queue, deciding)) as sifting:
        async for sifted in sifting:
            if counting.picks(sifted.letter) and sifted.choice is choice:
                found += 1
                tell(sifted.letter)
            passed()
            if counting.is_full:
                break
    return found


def _is_hidden(length: int) -> bool:
    return length < _MANY or not sys.stderr.isatty()
