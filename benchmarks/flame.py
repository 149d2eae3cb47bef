"""`python -m benchmarks.flame`: where the time of an ingress and of a worker goes, as flame graphs and by step.

py-spy looks into the running processes. Where Linux lets only parents do that, it has to run as root.
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

from benchmarks import filling, load, notes, queues
from benchmarks.accounting import threads_cpu_s
from benchmarks.faults import Worthless
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

DOOR_STEPS: Steps = {
    "verify: the signature over the raw bytes": ("verify (schemas/", "challenge (schemas/"),
    "identify: the event's id, topic, subject and time": ("identify (schemas/", "_identify (ingress/"),
    "seal: the envelope": ("(schemas/envelope.py",),
    "publish: frames, one write per turn, confirms": ("(broker/",),
    "receive and answer: HTTP": ("(ingress/", "(aiohttp/"),
    "the event loop: reading sockets, sleeping and waking": (EVENT_LOOP,),
}
WORKER_STEPS: Steps = {
    "take and acknowledge: frames off the socket, one write per group": ("(broker/rabbitmq",),
    "claim and finish, in the store's own thread: SQLite": ("sqlite ",),
    "claim and finish, on the event loop: asking the store": ("(workers/stores/", "(broker/"),
    "open: the envelope": ("from_headers (schemas/",),
    "normalise: canonical events": ("normalise (",),
    "handle: the function, its limits, what is noted here": ("_call (workers/", "(workers/handler", "(benchmarks/"),
    "the way through pool and pipeline": ("(workers/", "(hookline/"),
    "the event loop": (EVENT_LOOP,),
}


@dataclass(slots=True)
class Profile:
    """What the threads of a program did, and the CPU time that so many events cost each of them meanwhile."""

    title: str
    threads: dict[int, Counter[Stack]] = field(default_factory=dict)
    cpu_s: dict[int, float] = field(default_factory=dict)
    events: int = 0


@click.command()
@click.option("--events", type=click.IntRange(1_000), default=80_000, show_default=True, help="How many each handles.")
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=ROOT / "docs" / "images",
    help="Where the pictures are to be.",
)
def main(events: int, folder: Path) -> None:
    """Profile the ingress under load and the worker that drains its queue; write the pictures, and print the steps."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that what was started is ended too
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="hookline-flame-") as scratch, Servers() as servers:
        run = Run(Path(scratch), servers, Extent())
        try:
            installation = run.installation()
            queues.clear(servers.amqp_url)
            filling.make_queue(installation.settings)
            _tell(_ingress(run, installation, events), DOOR_STEPS, folder / "ingress-flame.svg")
            _tell(_worker(run, installation), WORKER_STEPS, folder / "worker-flame.svg")
        except Worthless as fault:
            raise click.ClickException(str(fault)) from None


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
    """Fill in what the program does meanwhile, and what it costs. Raises Worthless where py-spy cannot look."""
    raw = run.folder / "stacks"
    spy = shutil.which("py-spy", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    if spy is None:
        raise Worthless("py-spy is not installed: pip install 'hookline[bench]'")
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
    told = []
    for line in spying.stdout or ():
        told.append(line)
        if "Sampling" in line:
            return
    raise Worthless(f"py-spy cannot look into the process: {''.join(told)}")


def _tell(profile: Profile, steps: Steps, path: Path) -> None:
    """The picture into its file, and a table for a page on the terminal."""
    each_us = {thread: cpu_s / profile.events * 1e6 for thread, cpu_s in profile.cpu_s.items()}
    stacks = weighed(profile.threads, each_us)
    title = f"{profile.title}: {sum(stacks.values()):.0f} µs CPU for each of {profile.events:,} events"
    path.write_text(drawn(stacks, title), encoding="utf-8")
    click.echo(f"\n{title}\n\n| step | µs/event | share |\n| --- | ---: | ---: |")
    for name, cpu_us in by_step(stacks, steps).items():
        click.echo(f"| {name} | {cpu_us:.1f} | {cpu_us / sum(stacks.values()):.0%} |")


if __name__ == "__main__":
    main()
