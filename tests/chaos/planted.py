"""`python -m tests.chaos.planted BUG …`: the command `hookline …` with a bug, which the checker has to find."""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any
from zlib import crc32

from hookline.broker.rabbitmq.publisher import RabbitMQPublisher
from hookline.schemas.broker import Received
from hookline.schemas.envelope import Envelope
from hookline.workers.handler import Handler
from hookline.workers.pipeline import Pipeline
from hookline.workers.store import Acquired, Claim
from hookline.workers.stores.claim_coalescer import ClaimCoalescer
from hookline.workers.subject_queues import SubjectQueues
from hookline.workers.work import HANDLED, Case, Work

_ONE_OF = 200
_background = set[asyncio.Task[Any]]()


def settle_before_handling() -> None:
    """Each delivery is settled at once, and handled in the background."""
    take = Pipeline.take

    async def early(self: Pipeline, received: Received, *, last: bool = False) -> Work:
        _spawn(take(self, received, last=last))
        return Work(received, None, (), HANDLED)

    _take_by(early)


def drop_an_event() -> None:
    """One event of two hundred is settled as handled without a call."""
    call = Handler.call

    async def forgetful(self: Handler, case: Case, *, late: bool, transaction: Any = None) -> None:
        if _is_chosen(case.event.id):
            return
        await call(self, case, late=late, transaction=transaction)

    Handler.call = forgetful  # type: ignore[method-assign]  # a planted bug


def handle_a_room_concurrently() -> None:
    """An ordered worker does not know the room of any event."""
    add = SubjectQueues.add

    def without_subject(self: SubjectQueues[Any], item: Any, **facts: Any) -> None:
        add(self, item, **{**facts, "subject": None})

    SubjectQueues.add = without_subject  # type: ignore[method-assign]  # a planted bug


def forget_what_was_handled() -> None:
    """Every repeat counts as new."""

    async def claim(self: ClaimCoalescer, *_: object) -> Claim:
        return Acquired()

    async def claim_all(
        self: ClaimCoalescer, queue: str, events: Sequence[tuple[str, str | None]]
    ) -> Sequence[Claim | Exception]:
        return [Acquired()] * len(events)

    ClaimCoalescer.claim = claim  # type: ignore[method-assign, assignment]  # a planted bug
    ClaimCoalescer.claim_all = claim_all  # type: ignore[method-assign]  # a planted bug


def hold_an_event_for_ever() -> None:
    """One event of two hundred is never settled while the process lives."""
    take = Pipeline.take

    async def stuck(self: Pipeline, received: Received, *, last: bool = False) -> Work:
        if _is_chosen(str(received.headers.get("cloudEvents_id"))):
            await asyncio.Event().wait()
        return await take(self, received, last=last)

    _take_by(stuck)


def answer_before_the_confirm() -> None:
    """The ingress answers 2xx without waiting for RabbitMQ."""
    publish = RabbitMQPublisher.publish

    async def hasty(self: RabbitMQPublisher, envelope: Envelope) -> None:
        _spawn(publish(self, envelope))

    RabbitMQPublisher.publish = hasty  # type: ignore[method-assign]  # a planted bug


PLANTS: Mapping[str, Callable[[], None]] = {
    "settle-before-handling": settle_before_handling,
    "drop-an-event": drop_an_event,
    "handle-a-room-concurrently": handle_a_room_concurrently,
    "forget-what-was-handled": forget_what_was_handled,
    "hold-an-event-for-ever": hold_an_event_for_ever,
    "answer-before-the-confirm": answer_before_the_confirm,
}


def _is_chosen(event_id: str) -> bool:
    return crc32(event_id.encode()) % _ONE_OF == 0


def _take_by(take: Callable[..., Awaitable[Work]]) -> None:
    """Take every delivery in this way, also an ordinary one."""

    def none(self: Pipeline, received: Received, *, last: bool = False) -> None:
        pass

    Pipeline.take = take  # type: ignore[method-assign, assignment]  # a planted bug
    Pipeline.ordinary = none  # type: ignore[method-assign]  # a planted bug


def _spawn(work: Any) -> None:
    task = asyncio.ensure_future(work)
    _background.add(task)
    task.add_done_callback(_background.discard)


if __name__ == "__main__":
    from hookline.cli.main import main

    PLANTS[sys.argv.pop(1)]()
    main()
