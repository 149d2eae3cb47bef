"""A process that uses a store until it is killed: `python -m tests.contract.store_process ADDRESS QUEUE WHAT`."""

import asyncio
import sys
from collections.abc import Awaitable, Callable

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


async def hold_a_lock(store: Store, queue: str) -> None:
    assert isinstance(store, TransactionalStore)
    async with store.transaction(queue, "frozen", timeout_s=1) as transaction:
        await transaction.execute("UPDATE effects SET text = 'frozen' WHERE queue = %s", (queue,))
        say("done")
        await asyncio.Event().wait()


_WHAT: dict[str, Callable[[Store, str], Awaitable[None]]] = {
    each.__name__: each
    for each in (claim_one, claim_many, finish_unsynced, write_many, hang_in_a_transaction, hold_a_lock)
}


async def main(address: str, queue: str, what: str) -> None:
    async with opened(address) as store:
        await _WHAT[what](store, queue)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
