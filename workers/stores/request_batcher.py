"""Requests to a server in groups: what arrives while one group is in flight is sent as the next group."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from itertools import islice
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from hookline.aio.deadlines import Deadlines
from hookline.schemas.errors import Unreachable

_MAX_GROUP = 512
_MUCH = 128


class Keyed(Protocol):
    @property
    def key(self) -> Hashable: ...


T = TypeVar("T", bound=Keyed)
R = TypeVar("R")


class _Request(msgspec.Struct, Generic[T, R], frozen=True):
    items: Sequence[T]
    answer: "asyncio.Future[Sequence[R | Exception]]"


class RequestBatcher(Generic[T, R]):
    """`send` answers the items of a group in order. No key is twice in a group, or in two that are in flight.

    Up to `groups` are in flight, so that server and process work at the same time. `much` is how many items are worth a
    group of their own while another one is in flight.
    """

    def __init__(
        self,
        send: Callable[[list[T]], Awaitable[Sequence[R]]],
        timeout_s: float,
        *,
        groups: int = 1,
        much: int = _MUCH,
    ) -> None:
        self._send = send
        self._groups = groups
        self._much = much
        self._deadlines = Deadlines[asyncio.Future[Sequence[R | Exception]]](timeout_s, _give_up)
        self._loop = asyncio.get_running_loop()
        self._waiting: list[_Request[T, R]] = []
        self._in_flight: set[Hashable] = set()
        self._sending = 0
        self._senders: set[asyncio.Task[None]] = set()

    async def ask(self, item: T) -> R:
        """The answer to one item. Raises Unreachable, at the latest after the time-out."""
        (answer,) = await self.ask_all([item])
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def ask_all(self, items: Sequence[T]) -> Sequence[R | Exception]:
        """The answer to each item, or the error. Raises Unreachable if there is none after the time-out.

        No key may be twice among the items.
        """
        answer: asyncio.Future[Sequence[R | Exception]] = self._loop.create_future()
        self._waiting.append(_Request(items, answer))
        self._deadlines.start(answer)
        if self._may_send(self._sending):
            self._sending += 1
            sender = asyncio.create_task(self._send_all())
            self._senders.add(sender)
            sender.add_done_callback(self._senders.discard)
        try:
            return await answer
        finally:
            self._deadlines.stop(answer)

    async def close(self) -> None:
        """Stop sending. Callers that still wait get the time-out."""
        if self._senders:
            for sender in self._senders:
                sender.cancel()
            await asyncio.wait(self._senders)

    def _may_send(self, others: int) -> bool:
        """Whether to send what waits while so many other groups are in flight."""
        return not others or (others < self._groups and sum(len(each.items) for each in self._waiting) >= self._much)

    async def _send_all(self) -> None:
        try:
            while self._may_send(self._sending - 1) and (group := self._next_group()):
                await self._send_group(group)
        finally:
            self._sending -= 1

    async def _send_group(self, group: Sequence[_Request[T, R]]) -> None:
        items = [item for request in group for item in request.items]
        keys = {item.key for item in items}
        self._in_flight |= keys
        try:
            answers = iter(await self._answers(items))
        finally:
            self._in_flight -= keys
        for request in group:
            its = list(islice(answers, len(request.items)))
            if not request.answer.done():
                request.answer.set_result(its)

    def _next_group(self) -> list[_Request[T, R]]:
        """The requests that are sent now. One with a key that an earlier one has waits for a later group."""
        group: list[_Request[T, R]] = []
        waiting: list[_Request[T, R]] = []
        keys = self._in_flight.copy()
        count = 0
        for request in self._waiting:
            if request.answer.done():  # the caller has stopped waiting
                continue
            its = {item.key for item in request.items}
            if (group and count + len(its) > _MAX_GROUP) or not keys.isdisjoint(its):
                waiting.append(request)
            else:
                group.append(request)
                count += len(its)
            keys |= its
        self._waiting = waiting
        return group

    async def _answers(self, items: list[T]) -> Sequence[R | Exception]:
        """The answer to each item. If the group fails, each is sent alone: one that fails harms no other."""
        try:
            return await self._send(items)
        except Exception as error:  # noqa: BLE001  the callers get it, whatever it is
            if len(items) == 1 or isinstance(error, Unreachable):
                return [error] * len(items)
            return [answer for item in items for answer in await self._answers([item])]


def _give_up(answer: "asyncio.Future[Any]") -> None:
    if not answer.done():
        answer.set_exception(Unreachable("the store did not answer in time"))
