"""A host's addresses are looked up so that a name server that does not answer holds up no stop."""

import socket
import subprocess
import sys

import pytest

from hookline.aio.name_lookup import addresses_of

HANGS_S = 300
"""Longer than the test waits for the process."""
WITHIN_S = 120
PROGRAM = f"""
import asyncio, socket, sys, time
import uvloop
from hookline.aio.name_lookup import addresses_of

def hang(*_, **__):
    print("looking up", flush=True)
    time.sleep({HANGS_S})

socket.getaddrinfo = hang

async def main():
    try:
        async with asyncio.timeout(0.2):
            await addresses_of("broker.example", 5672)
    except TimeoutError:
        print("given up", flush=True)

with asyncio.Runner(loop_factory=getattr(sys.modules[sys.argv[1]], "new_event_loop")) as runner:
    runner.run(main())
"""


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_process_ends_while_a_look_up_hangs(loop: str) -> None:
    done = subprocess.run(  # noqa: S603  our own program
        [sys.executable, "-c", PROGRAM, loop], capture_output=True, text=True, timeout=WITHIN_S, check=True
    )
    assert done.stdout.split("\n")[:2] == ["looking up", "given up"]
    assert done.stderr == ""


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "198.51.100.7"])
async def test_an_address_is_its_own(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(socket, "getaddrinfo")
    assert await addresses_of(host, 5672) == [host]


async def test_a_name_has_each_of_its_addresses_once() -> None:
    found = await addresses_of("localhost", 5672)
    assert set(found) <= {"127.0.0.1", "::1"}
    assert len(set(found)) == len(found) > 0


@pytest.mark.parametrize(
    ("host", "error"), [("rabbit.invalid", socket.gaierror), (f"{'x' * 64}.example", UnicodeError)]
)
async def test_a_name_that_cannot_be_resolved_raises(host: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        await addresses_of(host, 5672)
