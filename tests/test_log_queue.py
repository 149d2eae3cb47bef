"""Logging never waits: a log that nobody reads costs lines, and nothing else."""

import asyncio
import errno
import io
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from hookline.runtime import log_queue
from hookline.runtime.log_queue import QueuedHandler

WITHIN_S = 60


@contextmanager
def logger_to(stream: io.StringIO) -> Iterator[tuple[logging.Logger, QueuedHandler]]:
    handler = QueuedHandler(stream)
    logger = logging.Logger("test")  # noqa: LOG001  not below the root, whose handlers are pytest's
    logger.addHandler(handler)
    try:
        yield logger, handler
    finally:
        handler.close()


class Stuck(io.StringIO):
    """A stream whose writes wait until it is read."""

    def __init__(self) -> None:
        super().__init__()
        self.stuck = threading.Event()
        self.is_read = threading.Event()

    def write(self, text: str) -> int:
        self.stuck.set()
        self.is_read.wait(WITHIN_S)
        return super().write(text)


def test_lines_are_written_in_order() -> None:
    stream = io.StringIO()
    with logger_to(stream) as (logger, handler):
        for number in range(1000):
            logger.info("line %d", number)
        handler.flush()
        assert stream.getvalue().splitlines() == [f"line {number}" for number in range(1000)]


async def test_written_waits_for_the_last_line() -> None:
    stream = io.StringIO()
    with logger_to(stream) as (logger, handler):
        logger.info("the last line")
        await handler.written(WITHIN_S)
        assert stream.getvalue() == "the last line\n"


async def test_written_does_not_wait_for_a_stuck_stream() -> None:
    stream = Stuck()
    with logger_to(stream) as (logger, handler):
        logger.info("first")
        assert stream.stuck.wait(WITHIN_S)
        async with asyncio.timeout(WITHIN_S / 2):
            await handler.written(0.01)
        assert not stream.getvalue()
        stream.is_read.set()


@pytest.mark.parametrize(
    ("limit", "value", "kept"),
    [("MAX_LINES", 10, range(8, 13)), ("MAX_BYTES", 200, range(10, 30))],
    ids=["lines", "bytes"],
)
def test_a_stuck_stream_costs_lines_that_are_counted(
    monkeypatch: pytest.MonkeyPatch, limit: str, value: int, kept: range
) -> None:
    monkeypatch.setattr(log_queue, limit, value)
    stream = Stuck()
    with logger_to(stream) as (logger, handler):
        logger.info("first")
        assert stream.stuck.wait(WITHIN_S)
        for number in range(100):
            logger.info("line %d", number)
        stream.is_read.set()
        handler.flush()
        lines = stream.getvalue().splitlines()
        assert lines[:2] == ["first", "line 0"]
        assert len(lines) - 1 in kept
        dropped = 100 - (len(lines) - 2)
        assert lines[-1] == f"{dropped} lines of the log were dropped: they came faster than they were read"
        assert handler.dropped_total == dropped
        logger.info("last")
        handler.flush()
        assert stream.getvalue().splitlines()[-1] == "last"


def test_a_stream_that_fails_costs_lines_that_are_counted() -> None:
    class Full(io.StringIO):
        fails = True

        def write(self, text: str) -> int:
            if self.fails:
                raise OSError(errno.ENOSPC, "full")
            return super().write(text)

    stream = Full()
    with logger_to(stream) as (logger, handler):
        logger.info("lost")
        handler.flush()
        stream.fails = False
        logger.info("kept")
        handler.flush()
        assert stream.getvalue().splitlines() == [
            "kept",
            "1 lines of the log were dropped: they came faster than they were read",
        ]


def test_a_line_that_cannot_be_formatted_harms_no_other(capsys: pytest.CaptureFixture[str]) -> None:
    stream = io.StringIO()
    with logger_to(stream) as (logger, handler):
        logger.info("%d", "zebra")
        logger.info("next")
        handler.flush()
        assert stream.getvalue() == "next\n"
    assert "zebra" in capsys.readouterr().err


CODE = """
import logging, sys
from hookline.runtime import log_queue, logs
log_queue._END_S = float(sys.argv[1])
logs.set_up("json")
for number in range(int(sys.argv[2])):
    logging.getLogger("x").info("line %d", number)
print("done", flush=True)
"""


def run(*arguments: str, read: Callable[[int], bytes]) -> tuple[int, bytes]:
    """Run a program that logs. Returns its exit code, and what was read of its log after it was done."""
    reading, writing = os.pipe()
    command = [sys.executable, "-c", CODE, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=writing) as process:  # noqa: S603
        os.close(writing)
        assert process.stdout is not None
        assert process.stdout.readline() == b"done\n"
        log = read(reading)
        code = process.wait(WITHIN_S)
        os.close(reading)
        return code, log


def read_all(file: int) -> bytes:
    parts = []
    while part := os.read(file, 2**16):
        parts.append(part)
    return b"".join(parts)


def test_a_process_ends_though_nobody_reads_its_log() -> None:
    code, _ = run("0.2", "5000", read=lambda _: b"")
    assert code == 0


def test_a_process_that_ends_writes_its_last_lines() -> None:
    code, log = run(str(WITHIN_S), "5000", read=read_all)
    assert code == 0
    assert log.count(b'"message": "line ') == 5000


LOGS_TO_THE_LAST = """
import gc, logging, os, threading
from hookline.runtime import logs

logs.set_up("json")
log = logging.getLogger("x")

class Last:
    def __init__(self):
        self.cycle = self

    def __del__(self, log=log, write=os.write):
        log.info("the interpreter ends")
        write(1, b"logged")

def log_on():
    while True:
        log.info("from a thread that nobody waits for")

gc.disable()
Last()
for _ in range(4):
    threading.Thread(target=log_on, daemon=True).start()
"""


def test_a_process_ends_though_python_stops_threads_that_log_and_logs_after_that() -> None:
    ended = subprocess.run(  # noqa: S603
        [sys.executable, "-c", LOGS_TO_THE_LAST],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        timeout=WITHIN_S,
        check=True,
    )
    assert ended.stdout == b"logged"
