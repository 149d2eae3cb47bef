"""Publishes until it is killed, and prints the number of each confirmed event."""

import asyncio
import os
import sys
from itertools import count

from tests.contract.installations import envelope, opened

_CALLERS = 50


async def main(address: str) -> None:
    async with opened(address) as broker:
        numbers = count()

        async def publish() -> None:
            for number in numbers:
                await broker.publisher.publish(envelope(number=number))
                os.write(1, f"{number}\n".encode())

        await asyncio.gather(*(publish() for _ in range(_CALLERS)))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
