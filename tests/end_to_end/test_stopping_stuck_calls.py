"""A process ends when it is told to, although a worker's function does not."""

from pathlib import Path

import pytest

from tests.contract.installations import queue_name
from tests.end_to_end.processes import Project, until

SWALLOWS = """
    while True:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            pass
"""
WAITS_IN_A_THREAD = """
    await asyncio.to_thread(time.sleep, 3600)
"""
WORKER = '''
"""A worker that hangs."""

import asyncio
import time
from pathlib import Path

from hookline import worker
from hookline.events import ParticipantJoined


@worker(ParticipantJoined, queue="QUEUE", timeout_s=3600)
async def stuck(_: ParticipantJoined) -> None:
    Path("hangs").touch()
'''


@pytest.mark.parametrize("body", [SWALLOWS, WAITS_IN_A_THREAD], ids=["swallows its end", "waits in a thread"])
def test_a_process_ends_although_a_function_does_not(body: str, tmp_path: Path) -> None:
    project = Project(tmp_path)
    try:
        project.config.write_text(f"{project.config.read_text()}\n[workers]\nshutdown_s = 1\n")
        (project.folder / "stuck.py").write_text(WORKER.replace("QUEUE", queue_name()) + body)
        process = project.start("run", "stuck.py")
        assert project.call("send", "krtc-main", "participant.joined").returncode == 0
        until((project.folder / "hangs").exists)
        assert process.stop() == 0
        assert process.count("is left behind")
        assert "ignored" not in (output := "".join(process.output)), output
    finally:
        project.close()
