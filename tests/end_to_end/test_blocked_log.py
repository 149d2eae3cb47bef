"""A log that nobody reads holds up neither callbacks nor health checks, and not the end of the process."""

import asyncio
import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.end_to_end.processes import END_S
from tests.floods.floods import SETTINGS
from tests.ingress.callbacks import post, sample, signed
from tests.ingress.sources import KRTC

CALLS = 400  # whose lines do not fit into a pipe
PIPE_BYTES = 4096
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"


async def answers(port: int, requests: list[bytes]) -> list[bytes]:
    """The first line of each answer, on one connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    lines = []
    for request in requests:
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]))
        lines.append(head.partition(b"\r\n")[0])
    writer.close()
    return lines


def read_start(file: int) -> int:
    """Read the log until everything is open. Returns the port."""
    text = b""
    while b"Ctrl-C stops" not in text:
        text += os.read(file, 1024)
    return int(text.partition(b"listening on http://127.0.0.1:")[2].split(b'"')[0])


async def test_a_log_that_nobody_reads_holds_nothing_up(tmp_path: Path) -> None:
    (tmp_path / "hookline.toml").write_text(SETTINGS)
    command = [sys.executable, "-m", "hookline", "run", "--log", "json", "--config", str(tmp_path / "hookline.toml")]
    reading, writing = os.pipe()
    fcntl.fcntl(writing, getattr(fcntl, "F_SETPIPE_SZ", fcntl.F_GETFL), PIPE_BYTES)
    with subprocess.Popen(command, cwd=tmp_path, stderr=writing) as process:  # noqa: ASYNC220, S603
        try:
            async with asyncio.timeout(END_S):
                port = await asyncio.to_thread(read_start, reading)
                bodies = [sample(KRTC) + b" " * number for number in range(CALLS)]
                calls = [post(KRTC, signed(KRTC, body, at_s=time.time())) for body in bodies]
                assert set(await answers(port, [*calls, HEALTH])) == {b"HTTP/1.1 200 OK"}
                process.send_signal(signal.SIGTERM)
                assert await asyncio.to_thread(process.wait) == 0
        finally:
            process.kill()
            os.close(reading)
            os.close(writing)
