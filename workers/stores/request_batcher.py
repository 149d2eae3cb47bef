"""Requests to a server in groups: what arrives while one group is in flight is sent as the next group."""

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


class _Request(msgspec.Struct, Generic[T, R], frozen=True):
    item: T
    answer: "asyncio.Future[R]"


class RequestBatcher(Generic[T, R]):
    """`send` answers the items of a group in order. No key is twice in a group."""

    def __init__(self, send: Callable[[list[T]], Awaitable[Sequence[R]]], timeout_s: float) -> None:
        self._send = send
        self._deadlines = Deadlines[asyncio.Future[R]](timeout_s, _give_up)
        self._loop = asyncio.get_running_loop()
        self._waiting: list[_Request[T, R]] = []
        self._sender: asyncio.Task[None] | None = None

    async def ask(self, item: T) -> R:
        """The answer to one item. Raises Unreachable, at the latest after the time-out."""
        answer: asyncio.Future[R] = self._loop.create_future()
        self._waiting.append(_Request(item, answer))
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
            if not await self._answered(group):
                for request in group:  # alone, so that an item that fails harms no other
                    await self._answered([request])

    def _next_group(self) -> list[_Request[T, R]]:
        group: dict[Hashable, _Request[T, R]] = {}
        waiting: list[_Request[T, R]] = []
        for request in self._waiting:
            if request.answer.done():  # the caller has stopped waiting
                continue
            key = request.item.key
            if key in group or len(group) == _MAX_GROUP:
                waiting.append(request)
            else:
                group[key] = request
        self._waiting = waiting
        return list(group.values())

    async def _answered(self, group: list[_Request[T, R]]) -> bool:
        """Whether all requests of the group have an answer."""
        try:
            answers = await self._send([request.item for request in group])
        except Exception as error:  # noqa: BLE001  the callers get it, whatever it is
            if len(group) > 1 and not isinstance(error, Unreachable):
                return False
            for request in group:
                if not request.answer.done():
                    request.answer.set_exception(error)
            return True
        for request, answer in zip(group, answers, strict=True):
            if not request.answer.done():
                request.answer.set_result(answer)
        return True


def _give_up(answer: "asyncio.Future[Any]") -> None:
    if not answer.done():
        answer.set_exception(Unreachable("the store did not answer in time"))
