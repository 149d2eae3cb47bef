"""Stores whose processes are killed."""

import asyncio
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from hookline.schemas.leases import LEASE_S
from hookline.workers.store import (
    Acquired,
    AlreadyFinished,
    Assignment,
    Duplicate,
    LeasedElsewhere,
    Store,
    TransactionalStore,
    UnsyncedStore,
)
from tests.contract.installations import eventually
from tests.contract.store_process import COUNT
from tests.contract.store_processes import go_on, line_of, store_process
from tests.contract.stores import (
    Another,
    effects,
    newest,
    note,
    prepare_effects,
    real_stores,
    transactional_stores,
    write,
)

Start = Callable[[str], subprocess.Popen[str]]

_PATIENCE_S = 2 * LEASE_S


@pytest.fixture
def start(address: str, queue: str) -> Iterator[Start]:
    """Starts `store_process.py`. Processes that still run at the end are killed."""
    with ExitStack() as running:
        yield lambda what: running.enter_context(store_process(address, queue, what))


@real_stores
async def test_events_and_partitions_of_a_killed_process_are_free_once_its_lease_has_ended(
    store: Store, queue: str, start: Start
) -> None:
    process = start("claim_one")
    await line_of(process)
    assert await store.claim(queue, "e") == LeasedElsewhere()
    assert await store.assign(queue, ["a", "b"], ()) == Assignment(frozenset())
    process.kill()

    async def is_acquired() -> bool:
        return await store.claim(queue, "e") == Acquired(deaths=1, crashes=1)

    await eventually(is_acquired, _PATIENCE_S)
    assert await store.assign(queue, ["a", "b"], ()) == Assignment(frozenset({"a", "b"}))


@real_stores
async def test_each_event_is_acquired_by_one_of_several_processes(start: Start) -> None:
    processes = [start("claim_many") for _ in range(3)]
    for process in processes:
        assert await line_of(process) == "ready"
    for process in processes:
        go_on(process)
    taken = [number for process in processes for number in (await line_of(process)).split()]
    assert sorted(map(int, taken)) == list(range(COUNT))


@transactional_stores
async def test_a_process_killed_in_a_transaction_leaves_neither_effect_nor_completion_record(
    address: str, store: Store, queue: str, start: Start
) -> None:
    await prepare_effects(address)
    process = start("hang_in_a_transaction")
    await line_of(process)
    process.kill()
    process.wait()
    assert await effects(address, queue) == []
    assert await store.claim(queue, "e") == Acquired()


@transactional_stores
async def test_a_process_killed_at_any_moment_leaves_the_same_effects_and_completion_records(
    address: str, store: Store, queue: str, start: Start
) -> None:
    await prepare_effects(address)
    process = start("write_many")
    await line_of(process)
    process.kill()
    process.wait()
    written = set(map(int, await effects(address, queue)))
    claims = await asyncio.gather(*(store.claim(queue, str(number)) for number in range(max(written) + 10)))
    assert {number for number, claim in enumerate(claims) if claim == Duplicate()} == written


@transactional_stores
async def test_of_two_processes_that_handle_an_event_at_once_only_one_has_an_effect(
    address: str, store: Store, queue: str, another: Another
) -> None:
    await prepare_effects(address)

    async def attempt(process: Store, event_id: str) -> bool:
        with suppress(AlreadyFinished):
            await write(process, queue, event_id, event_id)
            return True
        return False

    async with another() as other:
        for number in range(50):
            done = await asyncio.gather(attempt(store, str(number)), attempt(other, str(number)))
            assert sorted(done) == [False, True]
    assert sorted(map(int, await effects(address, queue))) == list(range(50))


@transactional_stores
async def test_the_completion_record_and_the_newest_time_are_committed_with_the_effect(
    address: str, store: Store, queue: str
) -> None:
    await prepare_effects(address)
    assert isinstance(store, TransactionalStore)
    async with store.transaction(queue, "e", timeout_s=30, subject="room", occurred_s=7) as transaction:
        await note(transaction, queue, "effect")
    assert await store.claim(queue, "e") == Duplicate()
    assert await newest(store, queue, "room") == 7
    assert await effects(address, queue) == ["effect"]


@pytest.mark.parametrize("address", ["sqlite"], indirect=True)
async def test_what_a_killed_process_had_finished_unsynced_is_finished(store: Store, queue: str, start: Start) -> None:
    process = start("finish_unsynced")
    assert await line_of(process) == "done"
    process.kill()
    assert await store.claim(queue, "e") == Duplicate()


@pytest.mark.parametrize("address", ["sqlite"], indirect=True)
async def test_a_sync_writes_to_the_log_that_the_disk_is_waited_for(address: str, store: Store) -> None:
    """SQLite waits for the disk only if a transaction has written something."""
    assert isinstance(store, UnsyncedStore)
    log = Path(address.removeprefix("sqlite:") + "-wal")
    for _ in range(3):
        before = content(log)
        await store.sync()
        assert content(log) != before


def content(path: Path) -> bytes:
    return path.read_bytes()
