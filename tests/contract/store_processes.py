"""Starting `store_process.py`, and talking with it."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def store_process(address: str, queue: str, what: str, timeout_s: float = 10.0) -> Iterator[subprocess.Popen[str]]:
    """A process that uses the store. It is killed at the end if it still runs."""
    process = subprocess.Popen(  # noqa: S603  our own module
        [sys.executable, "-m", "tests.contract.store_process", address, queue, what, str(timeout_s)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


async def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    async with asyncio.timeout(30):
        line = await asyncio.to_thread(process.stdout.readline)
    assert line, "the process ended without a line"
    return line.strip()


def go_on(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()
