"""Selects dead letters by filters, and lists, replays or drops those that are selected."""

import sys
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime

import click

from hookline.runtime.installation import Installation
from hookline.schemas import topics
from hookline.schemas.broker import DeadLetters
from hookline.schemas.dead_letters import Action, DeadLetter
from hookline.settings import Settings

_MANY = 20
Notify = Callable[[DeadLetter], None]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which letters are meant; what is None leaves it open. Times are those of the parking, or else of the receipt."""

    provider: str | None = None
    source: str | None = None
    topic: str | None = None
    subject: str | None = None
    reason: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    ids: frozenset[str] = frozenset()
    limit: int | None = None

    def includes(self, letter: DeadLetter) -> bool:
        """Whether it is meant, but for the limit. A letter that is no envelope of ours has nothing to be chosen by."""
        return self.reason in (None, letter.reason) and self._in_time(letter) and self._of(letter)

    def _in_time(self, letter: DeadLetter) -> bool:
        time = kept_since(letter)
        if time is None:
            return self.since is None and self.until is None
        return (self.since is None or self.since <= time) and (self.until is None or time <= self.until)

    def _of(self, letter: DeadLetter) -> bool:
        envelope = letter.envelope
        if envelope is None:
            return not self.ids and {self.provider, self.source, self.topic, self.subject} == {None}
        return (
            self.provider in (None, envelope.provider)
            and self.source in (None, envelope.source)
            and self.subject in (None, envelope.subject)
            and (self.topic is None or topics.matches(topics.binding(self.topic), envelope.routing_key))
            and (not self.ids or envelope.id in self.ids)
        )


class Picker:
    """Decides on letters: the action for those that are wanted, up to the limit; the rest stay."""

    def __init__(self, wanted: Wanted, action: Action) -> None:
        self._wanted = wanted
        self._choice = action
        self._left = wanted.limit

    @property
    def is_full(self) -> bool:
        return self._left == 0

    def __call__(self, letter: DeadLetter) -> Action:
        return self._choice if self.picks(letter) else Action.KEEP

    def picks(self, letter: DeadLetter) -> bool:
        """Whether this one is wanted; asked once for each letter, in their order."""
        if self.is_full or not self._wanted.includes(letter):
            return False
        if self._left is not None:
            self._left -= 1
        return True


def kept_since(letter: DeadLetter) -> datetime | None:
    received_at = letter.envelope.received_at if letter.envelope is not None else None
    return letter.parked_at or received_at


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
            if counting.picks(scanned.letter) and scanned.action is action:
                found += 1
                notify(scanned.letter)
            passed()
            if counting.is_full:
                break
    return found


def _is_hidden(length: int) -> bool:
    return length < _MANY or not sys.stderr.isatty()
