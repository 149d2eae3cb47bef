"""`python -m benchmarks.flame`: the CPU time of an ingress and of a worker, as flame graphs and by step.

py-spy samples the running processes. Where Linux restricts ptrace to parent processes, it has to run as root.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import click

from benchmarks import filling, load, notes, preparing, queues
from benchmarks.accounting import threads_cpu_s
from benchmarks.errors import InvalidRun
from benchmarks.flame_picture import drawn
from benchmarks.installation import Installation
from benchmarks.processes import ROOT, Program
from benchmarks.run import Extent, Run
from benchmarks.servers import Servers
from benchmarks.stacks import EVENT_LOOP, Stack, Steps, by_step, read, weighed
from hookline.schemas import topics

_PER_S = 250
_END_S = 60.0
_LONGEST_S = 120

INGRESS_STEPS: Steps = {
    "verify: the signature over the raw bytes": ("verify (hookline/schemas/", "challenge (hookline/schemas/"),
    "identify: the event's id, topic, subject and time": ("identify (hookline/schemas/",),
    "seal: the envelope": ("(hookline/schemas/envelope.py",),
    "publish: frames, one write per turn, confirms": ("(hookline/broker/",),
    "receive and answer: HTTP": ("(hookline/ingress/", "(aiohttp/"),
    "the event loop: reading sockets, sleeping and waking": (EVENT_LOOP,),
}
WORKER_STEPS: Steps = {
    "take and acknowledge: frames off the socket, one write per group": ("(hookline/broker/rabbitmq/",),
    "claim and finish, in the store's own thread: SQLite": ("sqlite ",),
    "claim and finish, on the event loop: asking the store": ("(hookline/workers/stores/", "(hookline/sqlite/"),
    "open: the envelope": ("from_headers (hookline/schemas/",),
    "normalise: canonical events": ("normalise (hookline/schemas/", "normalise (hookline/workers/"),
    "handle: the function, its limits, what is noted here": (
        "call (hookline/workers/",
        "(hookline/workers/handler.py",
        "(benchmarks/",
    ),
    "the way through pool and pipeline": ("(hookline/workers/", "(hookline/runtime/"),
    "the event loop": (EVENT_LOOP,),
}


@dataclass(slots=True)
class Profile:
    """The stacks of a program's threads, and the CPU time that each thread spent on `events`."""

    title: str
    threads: dict[int, Counter[Stack]] = field(default_factory=dict)
    cpu_s: dict[int, float] = field(default_factory=dict)
    events: int = 0


@click.command()
@click.option("--events", type=click.IntRange(1_000), default=80_000, show_default=True, help="Events of each profile.")
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=ROOT / "docs" / "images",
    help="The folder for the pictures.",
)
def main(events: int, folder: Path) -> None:
    """Profile the ingress under load and the worker that drains its queue; write the pictures, and print the steps."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that all started programs end too
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="hookline-flame-") as scratch, Servers() as servers:
        run = Run(Path(scratch), servers, Extent())
        try:
            installation = preparing.with_empty_queue(run)
            _report(_ingress(run, installation, events), INGRESS_STEPS, folder / "ingress-flame.svg")
            _report(_worker(run, installation), WORKER_STEPS, folder / "worker-flame.svg")
        except InvalidRun as error:
            raise click.ClickException(str(error)) from None


def _ingress(run: Run, installation: Installation, events: int) -> Profile:
    prepared = run.prepare(installation.sources, events)
    profile = Profile("hookline ingress on RabbitMQ")
    with installation.ingress() as ingress, _profiled(run, ingress, profile):
        taken = load.closed(ingress.port, prepared, load.CONNECTIONS, _LONGEST_S)
        profile.events = taken.accepted
    return profile


def _worker(run: Run, installation: Installation) -> Profile:
    waiting = queues.waiting(run.servers.amqp_url, topics.queue_name(filling.QUEUE))
    profile = Profile("hookline worker on RabbitMQ and SQLite")
    folder = run.new_folder()
    with installation.worker("benchmarks.handlers.unordered", folder) as worker:
        worker.wait_until(lambda: sum(notes.counts(folder)) > 0, _LONGEST_S)
        with _profiled(run, worker, profile):
            first = sum(notes.counts(folder))
            worker.wait_until(lambda: sum(notes.counts(folder)) >= waiting, _LONGEST_S)
            profile.events = waiting - first
    return profile


@contextmanager
def _profiled(run: Run, program: Program, profile: Profile) -> Iterator[None]:
    """Record a program's stacks and CPU time in `profile`. Raises InvalidRun if py-spy may not sample it."""
    raw = run.folder / "stacks"
    spy = shutil.which("py-spy", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    if spy is None:
        raise InvalidRun("py-spy is not installed: run `make bench` once, or pip install py-spy")
    options = ["--format", "raw", "--nolineno", "--threads", "--rate", str(_PER_S), "--output", str(raw)]
    with subprocess.Popen(
        [spy, "record", *options, "--pid", str(program.pid)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as spying:
        _await_sampling(spying)
        before_s = threads_cpu_s(program.pid)
        try:
            yield
        finally:
            after_s = threads_cpu_s(program.pid)
            profile.cpu_s = {thread: cpu_s - before_s.get(thread, 0.0) for thread, cpu_s in after_s.items()}
            spying.send_signal(signal.SIGINT)
            spying.communicate(timeout=_END_S)
    profile.threads = read(raw.read_text())


def _await_sampling(spying: "subprocess.Popen[str]") -> None:
    output = []
    for line in spying.stdout or ():
        output.append(line)
        if "Sampling" in line:
            return
    raise InvalidRun(f"py-spy cannot sample the process: {''.join(output)}")


def _report(profile: Profile, steps: Steps, path: Path) -> None:
    """Write the picture to its file, and print the table of steps in Markdown."""
    each_us = {thread: cpu_s / profile.events * 1e6 for thread, cpu_s in profile.cpu_s.items()}
    stacks = weighed(profile.threads, each_us)
    title = f"{profile.title}: {sum(stacks.values()):.0f} µs CPU for each of {profile.events:,} events"
    path.write_text(drawn(stacks, title), encoding="utf-8")
    click.echo(f"\n{title}\n\n| step | µs/event | share |\n| --- | ---: | ---: |")
    for name, cpu_us in by_step(stacks, steps).items():
        click.echo(f"| {name} | {cpu_us:.1f} | {cpu_us / sum(stacks.values()):.0%} |")


if __name__ == "__main__":
    main()
