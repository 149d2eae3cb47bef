"""What an ingress process and its supervisor tell each other."""

import asyncio
import signal
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path

import pytest

from hookline.cli.settings_template import settings_file
from hookline.runtime import supervised
from hookline.runtime.supervised import ALIVE, BROKER_BACK, STOP
from hookline.runtime.supervisor import _IngressProcess, _Supervisor
from hookline.settings import load

WITHIN_S = 60.0
CHILD = """
import asyncio
from hookline.runtime.supervised import BROKER_BACK, STOP, Pipes, SupervisorLink

async def main():
    stopped = asyncio.Event()
    link = SupervisorLink(Pipes.taken(), {BROKER_BACK: lambda: link.tell(b"heard\\n"), STOP: stopped.set})
    await stopped.wait()
    link.tell(b"stopped\\n")
    link.close()

asyncio.run(main())
"""


async def child(*command: str) -> Process:
    return await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE)


async def line_of(process: Process) -> bytes:
    """The next line, other than that the process runs."""
    assert process.stdout is not None
    async with asyncio.timeout(WITHIN_S):
        while (line := await process.stdout.readline()) == ALIVE:
            pass
    return line


async def test_a_process_says_that_it_runs_and_hears_lines_that_arrive_in_parts() -> None:
    process = await child(sys.executable, "-c", CHILD)
    assert process.stdin is not None
    assert process.stdout is not None
    assert await asyncio.wait_for(process.stdout.readline(), WITHIN_S) == ALIVE
    process.stdin.write(b"unknown\n" + BROKER_BACK[:3])
    await process.stdin.drain()
    assert await asyncio.wait_for(process.stdout.readline(), WITHIN_S) == ALIVE
    process.stdin.write(BROKER_BACK[3:])
    assert await line_of(process) == b"heard\n"
    process.stdin.write(STOP)
    assert await line_of(process) == b"stopped\n"
    assert await process.wait() == 0


async def test_the_end_of_the_supervisor_stops_a_process() -> None:
    process = await child(sys.executable, "-c", CHILD)
    assert process.stdin is not None
    process.stdin.close()
    assert await line_of(process) == b"stopped\n"
    assert await process.wait() == 0


async def test_a_process_whose_broker_is_back_wakes_the_others_and_not_itself(tmp_path: Path) -> None:
    (tmp_path / "hookline.toml").write_text(settings_file())
    settings = load(tmp_path / "hookline.toml", with_sources=True)
    supervisor = _Supervisor(settings)
    first, other = await child("cat"), await child("cat")  # they repeat what they hear
    processes = {1: _IngressProcess(first), 2: _IngressProcess(other)}
    supervisor._processes = processes  # noqa: SLF001
    following = asyncio.create_task(supervisor._follow(1, processes[1]))  # noqa: SLF001
    processes[1].send(supervised.BROKER_BACK)
    assert await line_of(other) == BROKER_BACK
    processes[1].send(supervised.OPEN)
    while not supervisor._listening:  # noqa: ASYNC110, SLF001
        await asyncio.sleep(0.01)
    for process in (first, other):
        process.kill()
        await process.wait()
    await following
    assert other.stdout is not None
    assert await other.stdout.read() == b""


async def test_a_process_that_is_slow_to_exit_is_not_killed_while_all_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has said its last, and a busy machine takes seconds to end it. Its exit code is its own."""
    monkeypatch.setattr("hookline.runtime.supervisor.ALIVE_EVERY_S", 0.01)
    (tmp_path / "hookline.toml").write_text(settings_file())
    supervisor = _Supervisor(load(tmp_path / "hookline.toml", with_sources=True))
    for is_stopping, code in ((True, 0), (False, -signal.SIGKILL)):
        (supervisor._stopping.set if is_stopping else supervisor._stopping.clear)()  # noqa: SLF001
        process = await child("cat")  # ends with its stdin
        await asyncio.wait_for(supervisor._kill_if_silent(1, _IngressProcess(process)), WITHIN_S)  # noqa: SLF001
        assert process.stdin is not None
        process.stdin.close()
        assert await process.wait() == code
