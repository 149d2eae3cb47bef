"""Asking a server in groups: what is asked while one group is under way goes out together as the next."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
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


class _Asked(msgspec.Struct, Generic[T, R], frozen=True):
    item: T
    answer: "asyncio.Future[R]"


class RequestBatcher(Generic[T, R]):
    """`send` answers a group of items in their order; no two of them have the same key."""

    def __init__(self, send: Callable[[list[T]], Awaitable[Sequence[R]]], timeout_s: float) -> None:
        self._send = send
        self._deadlines = Deadlines[asyncio.Future[R]](timeout_s, _give_up)
        self._loop = asyncio.get_running_loop()
        self._waiting: list[_Asked[T, R]] = []
        self._sender: asyncio.Task[None] | None = None

    async def ask(self, item: T) -> R:
        """The answer to one item. Raises Unreachable, after the time-out at the latest."""
        answer: asyncio.Future[R] = self._loop.create_future()
        self._waiting.append(_Asked(item, answer))
        self._deadlines.start(answer)
        if self._sender is None or self._sender.done():
            self._sender = asyncio.create_task(self._send_all())
        try:
            return await answer
        finally:
            self._deadlines.stop(answer)

    async def close(self) -> None:
        """End what is still being asked; whoever waits for it has the time-out."""
        if self._sender is not None:
            self._sender.cancel()
            await asyncio.wait([self._sender])

    async def _send_all(self) -> None:
        while group := self._next_group():
            if not await self._answered(group):
                for asked in group:  # so that one that cannot be asked harms no other
                    await self._answered([asked])

    def _next_group(self) -> list[_Asked[T, R]]:
        group: dict[Hashable, _Asked[T, R]] = {}
        later: list[_Asked[T, R]] = []
        for asked in self._waiting:
            if asked.answer.done():  # whoever asked has stopped waiting
                continue
            key = asked.item.key
            if key in group or len(group) == _MAX_GROUP:
                later.append(asked)
            else:
                group[key] = asked
        self._waiting = later
        return list(group.values())

    async def _answered(self, group: list[_Asked[T, R]]) -> bool:
        """Whether everybody in the group has an answer."""
        try:
            answers = await self._send([asked.item for asked in group])
        except Exception as error:  # noqa: BLE001  whoever asked gets it, whatever it is
            if len(group) > 1 and not isinstance(error, Unreachable):
                return False
            for asked in group:
                if not asked.answer.done():
                    asked.answer.set_exception(error)
            return True
        for asked, answer in zip(group, answers, strict=True):
            if not asked.answer.done():
                asked.answer.set_result(answer)
        return True


def _give_up(answer: "asyncio.Future[Any]") -> None:
    if not answer.done():
        answer.set_exception(Unreachable("the store did not answer in time"))
