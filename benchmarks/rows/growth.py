"""The cost of an event as the number of connections and sources and the size of bodies grow."""

import resource
from collections.abc import Iterator, Sequence

from benchmarks import closed, filling, peers, preparing, queues, steady
from benchmarks.callbacks import Prepared
from benchmarks.comparing import check_handled
from benchmarks.figures import Comparison, Measured, Row, Target
from benchmarks.load import CONNECTIONS
from benchmarks.processes import Ingress
from benchmarks.run import Run
from hookline.schemas import topics

_FLAT = Target("<=", 1.25)
_TWICE = Target("<=", 2)
_CONNECTIONS = (10, 100, 1_000, 10_000)
_CONNECTIONS_PER_S = 1_000
_BODY_BYTES = (256, 4_096, 65_536, 262_144)
_BODIES_PER_S = 300
_SOURCES_PER_PROVIDER = 200


def connections(run: Run) -> Iterator[Row]:
    """10 to 10,000 open connections, all in use at a constant rate."""
    _allow_files(max(_CONNECTIONS) + 1_000)
    ours, bare = _steady(run, [(_CONNECTIONS_PER_S, each, 0) for each in _CONNECTIONS])
    yield from _grown([f"{each:,} connections" for each in _CONNECTIONS], ours, bare)


def bodies(run: Run) -> Iterator[Row]:
    """Bodies of 256 B to 256 KiB, the default limit of a source, at a constant rate."""
    ours, bare = _steady(run, [(_BODIES_PER_S, CONNECTIONS, each) for each in _BODY_BYTES])
    yield from _against_bare([f"bodies of {each:,} B" for each in _BODY_BYTES], ours, bare)


def sources(run: Run) -> Iterator[Row]:
    """One source for each provider, against 200 for each, at capacity."""
    few, many = preparing.with_empty_queue(run), run.installation(sources_per_provider=_SOURCES_PER_PROVIDER)
    ours: list[Measured] = []
    reference: list[Measured] = []
    with few.ingress() as few_ingress, many.ingress() as many_ingress:
        for _ in range(run.extent.growth_rounds):
            reference.append(closed.measure(run, few_ingress, run.prepare(few.sources), closed.kept_by_us))
            ours.append(closed.measure(run, many_ingress, run.prepare(many.sources), closed.kept_by_us))
    name, few_name = f"{len(many.sources):,} sources", f"{len(few.sources)} sources"
    yield Comparison(name, ours, few_name, reference).cpu(_FLAT)


def _steady(run: Run, cases: Sequence[tuple[int, int, int]]) -> tuple[list[list[Measured]], list[list[Measured]]]:
    """Our rounds and the bare application's of each case: events per second, connections, and bytes of a body."""
    installation = preparing.with_empty_queue(run)
    ours: list[list[Measured]] = [[] for _ in cases]
    bare: list[list[Measured]] = [[] for _ in cases]
    with installation.ingress() as ingress, peers.bare(run) as bare_ingress:
        for number, (rate_per_s, count, body_bytes) in enumerate(cases):
            for _ in range(run.extent.growth_rounds):
                events = max(count, rate_per_s * run.extent.seconds)
                prepared = run.prepare(installation.sources, events, body_bytes)
                ours[number].append(_steadily(run, ingress, prepared, rate_per_s, count))
                _check(run, prepared)
                bare[number].append(_steadily(run, bare_ingress, prepared, rate_per_s, count))
    return ours, bare


def _steadily(run: Run, ingress: Ingress, prepared: Prepared, rate_per_s: float, count: int) -> Measured:
    measured, _ = steady.measure(run, ingress, prepared, rate_per_s, count)
    return measured


def _check(run: Run, prepared: Prepared) -> None:
    found = queues.emptied(run.servers.amqp_url, topics.queue_name(filling.QUEUE))
    check_handled("hookline ingress at a constant rate", [message.id for message in found], prepared.ids)


def _against_bare(
    names: Sequence[str], ours: Sequence[Sequence[Measured]], bare: Sequence[Sequence[Measured]]
) -> Iterator[Row]:
    for name, each, reference in zip(names, ours, bare, strict=True):
        yield Comparison(name, each, "bare aiohttp", reference).cpu(_TWICE)


def _grown(
    names: Sequence[str], ours: Sequence[Sequence[Measured]], bare: Sequence[Sequence[Measured]]
) -> Iterator[Row]:
    """Each case compared with the first, for Hookline and for the bare application."""
    yield from _against_bare(names[:1], ours[:1], bare[:1])
    for label, target, rounds in (("", _FLAT, ours), (", bare aiohttp", None, bare)):
        for name, each in zip(names[1:], rounds[1:], strict=True):
            yield Comparison(f"{name}{label}", each, names[0], rounds[0]).cpu(target)


def _allow_files(count: int) -> None:
    """Raise the limit of open files for this process and its children, as far as the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count if hard == resource.RLIM_INFINITY else min(count, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
