"""The mistakes M1 to M14, each switched on in turn: a test of the usual run notices it, and passes without it."""

import ast
import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import pytest

from hookline.aio.pulse import Pulse
from hookline.broker.rabbitmq.broker import RabbitMQBroker
from hookline.broker.rabbitmq.connection import Connection, RabbitMQSettings
from hookline.schemas import providers, signing
from hookline.sqlite.database import Database
from hookline.workers.stores.sqlite.store import SqliteStore
from tests import test_providers, test_rabbitmq_faults, test_rabbitmq_publish_channel, test_transactions, test_workers
from tests.contract.installations import RabbitMQInstallation, opened_rabbitmq
from tests.faults import planted
from tests.faults.planted import Patch
from tests.ingress import test_signature_memory
from tests.services.rabbitmq import Node, own_node
from tests.services.servers import free_ports
from tests.simulation.ingress_schedules import run
from tests.spool import test_spool_mutants as spool_mutants

Mistake: TypeAlias = Callable[[Patch], None]
Notices: TypeAlias = Callable[[Path], Awaitable[None]]

ENDS_S = 5.0
SCHEDULES = 60
ROOT = Path(signing.__file__).parents[1]
NOTICED = (AssertionError, pytest.fail.Exception, TimeoutError, LookupError)


async def a_process_is_killed_after_it_answered(_: Path) -> None:
    await asyncio.to_thread(_simulate)


def _simulate() -> None:
    for seed in range(SCHEDULES):
        run(seed)


async def confirms_and_refusals_are_told_apart(_: Path) -> None:
    await test_rabbitmq_publish_channel.test_confirms_may_come_in_any_order_single_or_multiple()


async def a_returned_message_is_not_confirmed(_: Path) -> None:
    await test_rabbitmq_publish_channel.test_a_returned_message_is_not_confirmed_by_its_confirm()


async def power_cuts(_: Path) -> None:
    await asyncio.to_thread(spool_mutants.power_cuts)


async def the_spool_is_simulated(_: Path) -> None:
    await asyncio.to_thread(spool_mutants.simulation)


async def a_failed_event_is_retried(_: Path) -> None:
    await test_workers.test_a_failed_event_is_retried_with_a_delay_and_uses_up_an_attempt()


async def a_function_that_fails_has_written_nothing(folder: Path) -> None:
    database = await Database.open(folder / "store.db")
    try:
        await database.run(lambda connection: connection.execute("CREATE TABLE effects (id TEXT)"))
        await test_transactions.test_a_function_that_fails_has_written_nothing(SqliteStore(database), database)
    finally:
        await database.close()


async def a_connection_ends_when_it_is_closed(_: Path) -> None:
    (port,) = free_ports(1)
    connection = Connection(RabbitMQSettings(f"amqp://127.0.0.1:{port}/"), "closing", Pulse())
    connection.open_soon()
    await asyncio.sleep(0)
    async with asyncio.timeout(ENDS_S):
        await connection.close()


async def a_message_without_a_confirm_fails_in_time(_: Path) -> None:
    async with asyncio.timeout(ENDS_S):
        await test_rabbitmq_publish_channel.test_each_message_has_its_own_deadline_although_they_share_a_timer()


async def a_request_without_a_signature_is_refused(_: Path) -> None:
    for provider in providers.catalogue().values():
        test_providers.test_a_request_without_any_signature_is_refused(provider)


async def a_signature_in_capitals_is_the_same_one(_: Path) -> None:
    for source in test_signature_memory.WITHOUT_BODY:
        test_signature_memory.test_a_signature_in_capitals_is_the_same_one(source)


MUTANTS: dict[str, tuple[Mistake, Notices]] = {
    "M1": (planted.answer_before_the_confirm, a_process_is_killed_after_it_answered),
    "M2": (planted.ignore_a_nack, confirms_and_refusals_are_told_apart),
    "M3": (planted.ignore_a_returned_message, a_returned_message_is_not_confirmed),
    "M4": (spool_mutants.answer_before_fsync, power_cuts),
    "M5": (spool_mutants.leave_out_the_folders_sync, power_cuts),
    "M6": (spool_mutants.remove_before_the_confirm, the_spool_is_simulated),
    "M7": (planted.settle_before_the_effect, a_failed_event_is_retried),
    "M8": (planted.write_the_effect_outside_its_transaction, a_function_that_fails_has_written_nothing),
    "M9": (planted.swallow_cancelled_error, a_connection_ends_when_it_is_closed),
    "M10": (planted.publish_without_a_time_out, a_message_without_a_confirm_fails_in_time),
    "M12": (planted.accept_a_missing_signature, a_request_without_a_signature_is_refused),
    "M13": (planted.key_the_memory_by_text, a_signature_in_capitals_is_the_same_one),
}
LONG = {"M4", "M5", "M6"}
"""Their tests run without a mistake in tests/spool."""


@pytest.mark.parametrize("name", MUTANTS)
async def test_a_mistake_is_noticed(name: str, tmp_path: Path) -> None:
    mistake, notices = MUTANTS[name]
    with Patch.context() as patch:
        mistake(patch)
        with pytest.raises(NOTICED):
            await notices(tmp_path)


@pytest.mark.parametrize("name", [name for name in MUTANTS if name not in LONG])
async def test_without_the_mistake_nothing_is_noticed(name: str, tmp_path: Path) -> None:
    await MUTANTS[name][1](tmp_path)


def compared_at_once(source: str) -> Iterator[str]:
    """Each comparison by `==` or `!=` of a digest, a signature or a secret, whose duration tells how much fits."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.Eq | ast.NotEq):
            sides = [ast.unparse(each) for each in (node.left, *node.comparators)]
            if any(_is_secret(side) for side in sides):
                yield ast.unparse(node)


def _is_secret(text: str) -> bool:
    return any(
        word in text.rpartition(".")[2].split("(")[0] for word in ("digest", "signature", "secret", "mac", "given")
    )


def test_no_digest_is_compared_byte_by_byte() -> None:
    """M11: the library's comparison takes as long for any two digests. The one exact form of base64 is public."""
    found = [
        f"{path.name}: {each}"
        for folder in ("schemas", "ingress")
        for path in sorted((ROOT / folder).rglob("*.py"))
        for each in compared_at_once(path.read_text())
    ]
    assert found == []


def test_a_digest_that_is_compared_byte_by_byte_is_noticed() -> None:
    source = inspect.getsource(signing)
    mutant = source.replace("compare_digest(given, digest)", "given == digest")
    assert mutant != source
    assert set(compared_at_once(mutant)) == {"given == digest"}


async def one_connection_for_both(node: Node) -> None:
    """Whether consumers settle while an alarm blocks what publishes."""
    settings = RabbitMQSettings(node.url, publish_timeout_s=1.0, heartbeat_s=2)
    async with opened_rabbitmq(settings) as broker:
        assert isinstance(broker, RabbitMQBroker)

        def alarm() -> str:
            return node.control("set_vm_memory_high_watermark", "0.000001")

        try:
            await test_rabbitmq_faults.test_a_memory_alarm_fails_publishes_but_not_consumers(broker, alarm, node)
        finally:
            await asyncio.to_thread(node.control, "set_vm_memory_high_watermark", "0.4")


async def test_one_connection_for_publishing_and_consuming_is_noticed(request: pytest.FixtureRequest) -> None:
    """M14. The same test passes in its own file."""
    node = own_node(request.config)
    await RabbitMQInstallation(node.url).clear()
    with Patch.context() as patch:
        planted.publish_and_consume_on_one_connection(patch)
        with pytest.raises(NOTICED):
            await one_connection_for_both(node)
