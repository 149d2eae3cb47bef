"""Selects dead letters by filters, and lists, replays or drops the selected ones."""

import sys
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime

import click

from hookline.runtime.installation import Installation
from hookline.schemas import topics
from hookline.schemas.broker import DeadLetters
from hookline.schemas.dead_letters import UNROUTED, Action, DeadLetter
from hookline.settings import Settings

_PROGRESS_FROM = 20
Notify = Callable[[DeadLetter], None]


@dataclass(frozen=True, slots=True)
class DeadLetterFilter:
    """Which dead letters a command is about. None means any. Times are those of `kept_since`."""

    provider: str | None = None
    source: str | None = None
    topic: str | None = None
    subject: str | None = None
    reason: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    ids: frozenset[str] = frozenset()
    limit: int | None = None

    def matches(self, dead_letter: DeadLetter) -> bool:
        """Whether a dead letter matches, apart from the limit. One without an envelope has only a reason and a time."""
        return (
            self.reason in (None, dead_letter.reason)
            and self._matches_time(dead_letter)
            and self._matches_envelope(dead_letter)
        )

    def _matches_time(self, dead_letter: DeadLetter) -> bool:
        time = kept_since(dead_letter)
        if time is None:
            return self.since is None and self.until is None
        return (self.since is None or self.since <= time) and (self.until is None or time <= self.until)

    def _matches_envelope(self, dead_letter: DeadLetter) -> bool:
        envelope = dead_letter.envelope
        if envelope is None:
            return not self.ids and {self.provider, self.source, self.topic, self.subject} == {None}
        return (
            self.provider in (None, envelope.provider)
            and self.source in (None, envelope.source)
            and self.subject in (None, envelope.subject)
            and (self.topic is None or topics.matches(topics.binding(self.topic), envelope.routing_key))
            and (not self.ids or envelope.id in self.ids)
        )


class Selection:
    """Decides in a scan: the action for dead letters that match, up to the limit. The others are kept."""

    def __init__(self, chosen: DeadLetterFilter, action: Action) -> None:
        self._filter = chosen
        self._action = action
        self._left = chosen.limit

    @property
    def is_full(self) -> bool:
        return self._left == 0

    def __call__(self, dead_letter: DeadLetter) -> Action:
        return self._action if self.selects(dead_letter) else Action.KEEP

    def selects(self, dead_letter: DeadLetter) -> bool:
        """Whether this dead letter is selected. Call it once for each one, in their order."""
        if self.is_full or not self._filter.matches(dead_letter):
            return False
        if self._left is not None:
            self._left -= 1
        return True


def kept_since(dead_letter: DeadLetter) -> datetime | None:
    """When the message was parked, or received if it was never parked."""
    received_at = dead_letter.envelope.received_at if dead_letter.envelope is not None else None
    return dead_letter.parked_at or received_at


@asynccontextmanager
async def _dead_letters(settings: Settings) -> AsyncIterator[DeadLetters]:
    async with Installation(settings) as installation:
        yield (await installation.broker()).dead_letters


async def counts(settings: Settings) -> dict[str, int]:
    """How many dead letters each queue has, for the queues that have any."""
    async with _dead_letters(settings) as dead_letters:
        return dict(await dead_letters.counts())


async def find(settings: Settings, queue: str, chosen: DeadLetterFilter, notify: Notify) -> int:
    """Call `notify` with each dead letter that matches. Returns their number."""
    async with _dead_letters(settings) as dead_letters:
        return await _scan(dead_letters, queue, chosen, Action.KEEP, notify)


async def find_wanted(settings: Settings, chosen: DeadLetterFilter, notify: Notify) -> tuple[int, int]:
    """Call `notify` with each unrouted event that matches and that a worker's queue wants now.

    Returns their number, and how many match that no queue wants.
    """
    unwanted = 0
    async with _dead_letters(settings) as dead_letters:
        keys = await dead_letters.wanted()

        def notify_of_wanted(each: DeadLetter) -> None:
            nonlocal unwanted
            if each.envelope is None or not any(topics.matches(key, each.envelope.routing_key) for key in keys):
                unwanted += 1
            else:
                notify(each)

        found = await _scan(dead_letters, UNROUTED, chosen, Action.KEEP, notify_of_wanted)
        return found - unwanted, unwanted


async def act(settings: Settings, queue: str, chosen: DeadLetterFilter, action: Action, label: str) -> tuple[int, int]:
    """Replay or drop each dead letter that matches. Returns their number, and how many dead letters are left."""
    async with _dead_letters(settings) as dead_letters:
        length = await dead_letters.count(queue)
        with click.progressbar(length=length, label=label, file=sys.stderr, hidden=_is_hidden(length)) as bar:
            done = await _scan(dead_letters, queue, chosen, action, lambda _: None, lambda: bar.update(1))
        return done, await dead_letters.count(queue)


async def _scan(
    dead_letters: DeadLetters,
    queue: str,
    chosen: DeadLetterFilter,
    action: Action,
    notify: Notify,
    passed: Callable[[], None] = lambda: None,
) -> int:
    """Scan a queue to its end, or until the limit is reached. Returns how many were selected.

    The broker decides page by page, ahead of what it yields, so that a second selection counts what was yielded.
    """
    deciding, counting, found = Selection(chosen, action), Selection(chosen, action), 0
    async with aclosing(dead_letters.scan(queue, deciding)) as scanning:
        async for scanned in scanning:
            if counting.selects(scanned.dead_letter) and scanned.action is action:
                found += 1
                notify(scanned.dead_letter)
            passed()
            if counting.is_full:
                break
    return found


def _is_hidden(length: int) -> bool:
    return length < _PROGRESS_FROM or not sys.stderr.isatty()
