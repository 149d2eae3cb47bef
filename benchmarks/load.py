"""Load from a separate program: a closed loop on some connections (`wrk`), or an open loop at a constant rate."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from threading import Timer

import msgspec

from benchmarks.accounting import LOAD, Meter, Processes
from benchmarks.callbacks import Prepared
from benchmarks.errors import InvalidRun
from benchmarks.load_open import ANSWERED, CONNECTED, Result
from benchmarks.processes import ROOT

CONNECTIONS = 256
"""Enough to keep an ingress busy while RabbitMQ or the disk confirms."""

_SCRIPT = Path(__file__).with_name("load_closed.lua")
_MARGIN_S = 30.0


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """`answered` counts all answers, `refused` those that are not 2xx, `failed` the requests without an answer."""

    answered: int
    refused: int
    failed: int
    seconds: float
    p50_ms: float
    p99_ms: float
    max_ms: float

    @property
    def accepted(self) -> int:
        return self.answered - self.refused


def closed(port: int, prepared: Prepared, connections: int, seconds: int) -> Load:
    """Send each request once; each connection sends the next one when it has an answer.

    The load ends early when no request is left. Raises InvalidRun unless every answered request was accepted.
    """
    wrk = shutil.which("wrk")
    if wrk is None:
        raise InvalidRun("wrk is not installed: run benchmarks/install.sh")
    # Otherwise a request would count as failed after two seconds. A slow one is slow.
    patience = ["--timeout", f"{_MARGIN_S:g}s"]
    command = [wrk, "-t1", f"-c{connections}", f"-d{seconds}s", *patience, "-s", str(_SCRIPT)]
    done = subprocess.run(
        [*command, f"http://127.0.0.1:{port}/", "--", str(prepared.path)],
        capture_output=True,
        text=True,
        timeout=seconds + _MARGIN_S,
        check=False,
    )
    if done.returncode != 0:
        raise InvalidRun(f"wrk failed: {done.stderr}{done.stdout}")
    load = msgspec.json.decode(done.stdout.splitlines()[-1], type=Load)
    if load.refused or load.failed:
        raise InvalidRun(f"some requests were refused or failed: {load}")
    return load


def opened(
    port: int, prepared: Prepared, connections: int, rate_per_s: float, groups: Mapping[str, Processes]
) -> tuple[Result, dict[str, float]]:
    """Send each request once, at a constant rate. Returns the results, and the CPU time that the groups used meanwhile.

    Raises InvalidRun unless every request was accepted.
    """
    path = prepared.path.with_suffix(".result")
    arguments = [str(port), str(prepared.path), str(connections), str(rate_per_s), str(path)]
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.load_open", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as generator:
        watchdog = Timer(len(prepared.ids) / rate_per_s + 2 * _MARGIN_S, generator.kill)
        watchdog.start()
        try:
            _await_stage(generator, CONNECTED)
            meter = Meter({**groups, LOAD: lambda: [generator.pid]})
            _go_on(generator)
            _await_stage(generator, ANSWERED)
            cpu_s = meter.spent_s()
            _go_on(generator)
            generator.wait()
        finally:
            watchdog.cancel()
            generator.kill()
    result = msgspec.json.decode(path.read_bytes(), type=Result)
    refused = [status for status in result.statuses if not 200 <= status < 300]
    if refused:
        raise InvalidRun(f"{len(refused)} of {len(result.statuses)} requests were not accepted: {sorted(set(refused))}")
    return result, cpu_s


def _await_stage(generator: "subprocess.Popen[str]", stage: str) -> None:
    if generator.stdout is None or generator.stdout.readline() != stage:
        raise InvalidRun(f"the load generator did not reach the stage {stage.strip()!r}")


def _go_on(generator: "subprocess.Popen[str]") -> None:
    if generator.stdin is not None:
        generator.stdin.write("\n")
        generator.stdin.flush()
