# ruff: noqa: ARG005  a mistake replaces methods
"""Mistakes that an ingress, a publisher or a worker may have, each switched on in turn: a test has to notice it.

`python -m tests.faults.planted MISTAKE …` is the command `hookline …` with one of them.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any, TypeAlias

import pytest

from hookline.broker.rabbitmq import connection
from hookline.broker.rabbitmq.broker import RabbitMQBroker
from hookline.broker.rabbitmq.confirms import UNROUTABLE, Confirms
from hookline.broker.rabbitmq.connection import RabbitMQSettings
from hookline.broker.spool.publisher import SpoolingPublisher
from hookline.ingress.signature_memory import SignatureMemory
from hookline.schemas import providers
from hookline.schemas.broker import Received
from hookline.schemas.envelope import Envelope
from hookline.schemas.errors import MissingSignature
from hookline.schemas.provider import AnySource, Request
from hookline.workers.pipeline import Pipeline
from hookline.workers.stores.sqlite.store import SqliteStore
from hookline.workers.stores.sqlite.transaction import Parameters, Writes
from hookline.workers.work import HANDLED, Work

Patch = pytest.MonkeyPatch
Verify: TypeAlias = Callable[[Request, AnySource, float], None]

_background = set[asyncio.Task[Any]]()


def answer_before_the_confirm(patch: Patch) -> None:
    publish = SpoolingPublisher.publish

    async def hasty(self: SpoolingPublisher, envelope: Envelope) -> None:
        _spawn(publish(self, envelope))

    patch.setattr(SpoolingPublisher, "publish", hasty)


def ignore_a_nack(patch: Patch) -> None:
    settle = Confirms.settle

    def deaf(self: Confirms, tag: int, *, multiple: bool, refusal: str | None = None) -> None:
        settle(self, tag, multiple=multiple, refusal=refusal if refusal == UNROUTABLE else None)

    patch.setattr(Confirms, "settle", deaf)


def ignore_a_returned_message(patch: Patch) -> None:
    patch.setattr(Confirms, "returned", lambda self, message_id: None)


def settle_before_the_effect(patch: Patch) -> None:
    work = Pipeline.work

    async def early(self: Pipeline, received: Received, *, last: bool = False) -> Work:
        _spawn(work(self, received, last=last))
        return Work(received, None, (), HANDLED)

    patch.setattr(Pipeline, "work", early)


def write_the_effect_outside_its_transaction(patch: Patch) -> None:
    """Each statement of a function is committed at once; the completion record follows."""
    transaction_of = SqliteStore.transaction

    @asynccontextmanager
    async def transaction(self: SqliteStore, *arguments: Any, **options: Any) -> AsyncIterator[Writes]:
        class AtOnce(Writes):
            def execute(_, sql: str, parameters: Parameters = ()) -> None:  # noqa: N805  self is the store
                alone = Writes()
                alone.execute(sql, parameters)
                _spawn(self._database.run(alone.run))

        async with transaction_of(self, *arguments, **options):
            yield AtOnce()

    patch.setattr(SqliteStore, "transaction", transaction)


def swallow_cancelled_error(patch: Patch) -> None:
    async def deaf(step: Awaitable[None]) -> BaseException | None:
        try:
            await step
        except BaseException as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling() > 1:  # a test's event loop has to end
                raise
            return error
        return None

    patch.setattr(connection, "_failure", deaf)


def publish_without_a_time_out(patch: Patch) -> None:
    patch.setattr(Confirms, "_time_out", lambda self, confirmed: None)


def accept_a_missing_signature(patch: Patch) -> None:
    lenient = {name: replace(each, verify=_lenient(each.verify)) for name, each in providers.catalogue().items()}
    patch.setattr(providers, "catalogue", lambda: lenient)


def _lenient(verify: Verify) -> Verify:
    def verified(request: Request, source: AnySource, now_s: float) -> None:
        with suppress(MissingSignature):
            verify(request, source, now_s)

    return verified


def key_the_memory_by_text(patch: Patch) -> None:
    """A signature in capitals, which means the same, has a memory of its own."""
    use = SignatureMemory.use

    def literal(self: SignatureMemory, source: AnySource, signatures: Any) -> None:
        use(self, source, signatures)
        self._signature_of = lambda request: f"{request.query} {request.body!r}"

    patch.setattr(SignatureMemory, "use", literal)


def publish_and_consume_on_one_connection(patch: Patch) -> None:
    init = RabbitMQBroker.__init__

    def one(self: RabbitMQBroker, settings: RabbitMQSettings, back: Callable[[], None] = lambda: None) -> None:
        init(self, settings, back)
        self._consume_connection = self._publish_connection

    patch.setattr(RabbitMQBroker, "__init__", one)


MISTAKES: Mapping[str, Callable[[Patch], None]] = {
    mistake.__name__: mistake
    for mistake in (
        answer_before_the_confirm,
        ignore_a_nack,
        ignore_a_returned_message,
        settle_before_the_effect,
        write_the_effect_outside_its_transaction,
        swallow_cancelled_error,
        publish_without_a_time_out,
        accept_a_missing_signature,
        key_the_memory_by_text,
        publish_and_consume_on_one_connection,
    )
}


def _spawn(work: Any) -> None:
    task = asyncio.ensure_future(work)
    _background.add(task)
    task.add_done_callback(_settled)


def _settled(task: "asyncio.Task[Any]") -> None:
    _background.discard(task)
    if not task.cancelled():
        task.exception()  # retrieved: nobody waits for it


if __name__ == "__main__":
    from hookline.cli.main import main

    MISTAKES[sys.argv.pop(1)](Patch())
    main()
