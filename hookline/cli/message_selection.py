"""Selects dead letters or pending retries by filters, and lists, replays or drops the selected ones."""

import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol, TypeVar

import click

from hookline.cli.known_names import naming_queues
from hookline.runtime.installation import Installation
from hookline.schemas import topics
from hookline.schemas.broker import Broker, DeadLetters, Retries, Scannable
from hookline.schemas.dead_letters import UNROUTED, Action, DeadLetter
from hookline.schemas.envelope import Envelope
from hookline.settings import Settings

_PROGRESS_FROM = 20


class Message(Protocol):
    """What a dead letter and a pending retry have in common."""

    @property
    def headers(self) -> Mapping[str, Any]: ...

    @property
    def content_type(self) -> str: ...

    @property
    def body(self) -> bytes: ...

    @property
    def envelope(self) -> Envelope | None: ...

    @property
    def reason(self) -> str: ...

    @property
    def kept_since(self) -> datetime | None: ...


M = TypeVar("M", bound=Message)
Part = Callable[[Broker], Scannable[M]]
"""The part of a broker that a command is about."""


def dead_letters(broker: Broker) -> DeadLetters:
    return broker.dead_letters


def retries(broker: Broker) -> Retries:
    return broker.retries


@dataclass(frozen=True, slots=True)
class MessageFilter:
    """Which messages a command is about. None means any. Times are those of `kept_since`.

    `only` has the names of messages, as `name_of` gives them.
    """

    provider: str | None = None
    source: str | None = None
    topic: str | None = None
    subject: str | None = None
    reason: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    ids: frozenset[str] = frozenset()
    limit: int | None = None
    only: frozenset[str] | None = None

    def matches(self, message: Message) -> bool:
        """Whether a message matches, apart from the limit. One without an envelope has only a reason and a time."""
        return (
            self.reason in (None, message.reason)
            and self._matches_time(message)
            and self._matches_envelope(message)
            and (self.only is None or name_of(message) in self.only)
        )

    def _matches_time(self, message: Message) -> bool:
        time = message.kept_since
        if time is None:
            return self.since is None and self.until is None
        return (self.since is None or self.since <= time) and (self.until is None or time <= self.until)

    def _matches_envelope(self, message: Message) -> bool:
        envelope = message.envelope
        if envelope is None:
            return not self.ids and {self.provider, self.source, self.topic, self.subject} == {None}
        return (
            self.provider in (None, envelope.provider)
            and self.source in (None, envelope.source)
            and self.subject in (None, envelope.subject)
            and (self.topic is None or topics.matches(topics.binding(self.topic), envelope.routing_key))
            and (not self.ids or envelope.id in self.ids)
        )


def name_of(message: Message) -> str:
    """The id of the event of a message; empty for a message of another program."""
    return "" if message.envelope is None else message.envelope.id


class Selection:
    """Decides in a scan: the action for messages that match, up to the limit. The others are kept."""

    def __init__(self, chosen: MessageFilter, action: Action) -> None:
        self._filter = chosen
        self._action = action
        self._left = chosen.limit

    @property
    def is_full(self) -> bool:
        return self._left == 0

    def __call__(self, message: Message) -> Action:
        return self._action if self.selects(message) else Action.KEEP

    def selects(self, message: Message) -> bool:
        """Whether this message is selected. Call it once for each one, in their order."""
        if self.is_full or not self._filter.matches(message):
            return False
        if self._left is not None:
            self._left -= 1
        return True


P = TypeVar("P")


@asynccontextmanager
async def _opened(settings: Settings, part: Callable[[Broker], P]) -> AsyncIterator[P]:
    async with Installation(settings) as installation, naming_queues(await installation.broker()) as broker:
        yield part(broker)


async def counts(settings: Settings, part: Part[M]) -> dict[str, int]:
    """How many messages each queue has, for the queues that have any."""
    async with _opened(settings, part) as messages:
        return dict(await messages.counts())


async def find(
    settings: Settings, part: Part[M], queue: str, chosen: MessageFilter, notify: Callable[[M], object]
) -> int:
    """Call `notify` with each message that matches. Returns their number."""
    async with _opened(settings, part) as messages:
        return await _scan(messages, queue, chosen, Action.KEEP, notify)


async def find_wanted(
    settings: Settings, chosen: MessageFilter, notify: Callable[[DeadLetter], object]
) -> tuple[int, int]:
    """Call `notify` with each unrouted event that matches and that a worker's queue wants now.

    Returns their number, and how many match that no queue wants.
    """
    unwanted = 0
    async with _opened(settings, dead_letters) as messages:
        keys = await messages.wanted()

        def notify_of_wanted(each: DeadLetter) -> None:
            nonlocal unwanted
            if each.envelope is None or not any(topics.matches(key, each.envelope.routing_key) for key in keys):
                unwanted += 1
            else:
                notify(each)

        found = await _scan(messages, UNROUTED, chosen, Action.KEEP, notify_of_wanted)
        return found - unwanted, unwanted


async def act(
    settings: Settings, part: Part[M], queue: str, chosen: MessageFilter, action: Action, label: str
) -> tuple[int, int]:
    """Replay or drop each message that matches. Returns their number, and how many messages are left."""
    async with _opened(settings, part) as messages:
        length = await messages.count(queue)
        with click.progressbar(length=length, label=label, file=sys.stderr, hidden=_is_hidden(length)) as bar:
            done = await _scan(messages, queue, chosen, action, lambda _: None, lambda: bar.update(1))
        return done, await messages.count(queue)


async def _scan(
    messages: Scannable[M],
    queue: str,
    chosen: MessageFilter,
    action: Action,
    notify: Callable[[M], object],
    passed: Callable[[], None] = lambda: None,
) -> int:
    """Scan a queue to its end, or until the limit is reached. Returns how many were selected.

    The broker decides page by page, ahead of what it yields, so that a second selection counts what was yielded.
    """
    deciding, counting, found = Selection(chosen, action), Selection(chosen, action), 0
    async with aclosing(messages.scan(queue, deciding)) as scanning:
        async for scanned in scanning:
            if counting.selects(scanned.message) and scanned.action is action:
                found += 1
                notify(scanned.message)
            passed()
            if counting.is_full:
                break
    return found


def _is_hidden(length: int) -> bool:
    return length < _PROGRESS_FROM or not sys.stderr.isatty()
