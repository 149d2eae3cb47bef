"""A process that uses a store until it is killed: `… ADDRESS QUEUE WHAT [TIMEOUT_S]`."""

import asyncio
import sys
from collections.abc import Awaitable, Callable

from hookline.schemas.errors import Unreachable
from hookline.workers.store import Acquired, Store, TransactionalStore, UnsyncedStore
from tests.contract.stores import note, opened, write

COUNT = 400


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


async def claim_one(store: Store, queue: str) -> None:
    await store.claim(queue, "e")
    await store.mark_exclusive(queue, "e")
    await store.assign(queue, ["a", "b"], ())
    say("done")
    await asyncio.Event().wait()


async def finish_unsynced(store: Store, queue: str) -> None:
    assert isinstance(store, UnsyncedStore)
    await store.claim(queue, "e")
    await store.finish_unsynced(queue, "e")
    say("done")
    await asyncio.Event().wait()


async def claim_many(store: Store, queue: str) -> None:
    say("ready")
    await asyncio.to_thread(sys.stdin.readline)
    claims = await asyncio.gather(*(store.claim(queue, str(number)) for number in range(COUNT)))
    say(" ".join(str(number) for number, claim in enumerate(claims) if isinstance(claim, Acquired)))
    await asyncio.to_thread(sys.stdin.readline)


async def claim_in_vain(store: Store, queue: str) -> None:
    """Claim an event of which the store says nothing in time, and live on."""
    await store.claim(queue, "other")  # the connection is open from now on
    say("ready")
    await asyncio.to_thread(sys.stdin.readline)
    claiming = asyncio.create_task(store.claim(queue, "e"))
    await asyncio.sleep(0.2)
    say("sent")
    try:
        say(type(await claiming).__name__)
    except Unreachable:
        say("unreachable")
    await asyncio.Event().wait()


async def write_many(store: Store, queue: str) -> None:
    for number in range(10**9):
        await write(store, queue, str(number), str(number))
        if number == COUNT // 10:
            say("done")


async def hang_in_a_transaction(store: Store, queue: str) -> None:
    assert isinstance(store, TransactionalStore)
    async with store.transaction(queue, "e", timeout_s=30) as transaction:
        await note(transaction, queue, "effect")
        say("done")
        await asyncio.Event().wait()


async def hold_a_lock(store: Store, queue: str, timeout_s: float = 1) -> None:
    assert isinstance(store, TransactionalStore)
    async with store.transaction(queue, "frozen", timeout_s=timeout_s) as transaction:
        await transaction.execute("UPDATE effects SET text = 'frozen' WHERE queue = %s", (queue,))
        say("done")
        await asyncio.Event().wait()


async def hold_a_lock_for_long(store: Store, queue: str) -> None:
    await hold_a_lock(store, queue, timeout_s=60)


_FUNCTIONS = (
    claim_one,
    claim_many,
    claim_in_vain,
    finish_unsynced,
    write_many,
    hang_in_a_transaction,
    hold_a_lock,
    hold_a_lock_for_long,
)
_WHAT: dict[str, Callable[[Store, str], Awaitable[None]]] = {each.__name__: each for each in _FUNCTIONS}


async def main(address: str, queue: str, what: str, timeout_s: str = "10") -> None:
    async with opened(address, float(timeout_s)) as store:
        await _WHAT[what](store, queue)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
