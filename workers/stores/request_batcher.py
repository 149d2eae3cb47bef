"""Requests to a server in groups: what arrives while one group is in flight is sent as the next group."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from itertools import islice
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from hookline.aio.deadlines import Deadlines
from hookline.schemas.errors import Unreachable

_MAX_GROUP = 512


class Keyed(Protocol):
    @property
    def key(self) -> Hashable: ...


T = TypeVar("T", bound=Keyed)
R = TypeVar("R")


class _Request(msgspec.Struct, Generic[T, R], frozen=True):
    items: Sequence[T]
    answer: "asyncio.Future[Sequence[R | Exception]]"


class RequestBatcher(Generic[T, R]):
    """`send` answers the items of a group in order. No key is twice in a group."""

    def __init__(self, send: Callable[[list[T]], Awaitable[Sequence[R]]], timeout_s: float) -> None:
        self._send = send
        self._deadlines = Deadlines[asyncio.Future[Sequence[R | Exception]]](timeout_s, _give_up)
        self._loop = asyncio.get_running_loop()
        self._waiting: list[_Request[T, R]] = []
        self._sender: asyncio.Task[None] | None = None

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
        if self._sender is None or self._sender.done():
            self._sender = asyncio.create_task(self._send_all())
        try:
            return await answer
        finally:
            self._deadlines.stop(answer)

    async def close(self) -> None:
        """Stop sending. Callers that still wait get the time-out."""
        if self._sender is not None:
            self._sender.cancel()
            await asyncio.wait([self._sender])

    async def _send_all(self) -> None:
        while group := self._next_group():
            answers = iter(await self._answers([item for request in group for item in request.items]))
            for request in group:
                its = list(islice(answers, len(request.items)))
                if not request.answer.done():
                    request.answer.set_result(its)

    def _next_group(self) -> list[_Request[T, R]]:
        """The requests that are sent now. One with a key that an earlier one has waits for the next group."""
        group: list[_Request[T, R]] = []
        waiting: list[_Request[T, R]] = []
        keys: set[Hashable] = set()
        count = 0
        for request in self._waiting:
            if request.answer.done():  # the caller has stopped waiting
                continue
            its = {item.key for item in request.items}
            if group and (count + len(its) > _MAX_GROUP or not keys.isdisjoint(its)):
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
