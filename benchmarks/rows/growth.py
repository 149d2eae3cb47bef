"""The cost of an event as the number of connections and sources and the size of bodies grow."""

import resource
from collections.abc import Iterator, Sequence

from benchmarks import closed, filling, peers, preparing, queues, steady
from benchmarks.callbacks import Prepared
from benchmarks.comparing import check_handled
from benchmarks.figures import Comparison, Measured, Row, Target
from benchmarks.installation import Installation
from benchmarks.load import CONNECTIONS
from benchmarks.processes import Ingress
from benchmarks.run import Run
from benchmarks.turns import by_turns
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
    ours, reference = closed.by_turns_of_two(run, run.extent.growth_rounds, many, few)
    name, few_name = f"{len(many.sources):,} sources", f"{len(few.sources)} sources"
    yield Comparison(name, ours, few_name, reference).cpu(_FLAT)


def _steady(run: Run, cases: Sequence[tuple[int, int, int]]) -> tuple[list[list[Measured]], list[list[Measured]]]:
    """Our rounds and the bare application's of each case: events per second, connections, and bytes of a body."""
    installation = preparing.with_empty_queue(run)
    with installation.ingress() as ingress, peers.bare(run) as bare_ingress:
        measured = [_case_by_turns(run, installation, ingress, bare_ingress, *case) for case in cases]
    return [ours for ours, _ in measured], [bare for _, bare in measured]


def _case_by_turns(
    run: Run, installation: Installation, ingress: Ingress, bare_ingress: Ingress, *case: int
) -> tuple[list[Measured], ...]:
    rate_per_s, count, body_bytes = case
    events = max(count, rate_per_s * run.extent.seconds)

    def hookline(prepared: Prepared) -> Measured:
        measured, _ = steady.measure(run, ingress, prepared, rate_per_s, count)
        found = queues.emptied(run.servers.amqp_url, topics.queue_name(filling.QUEUE))
        check_handled("hookline ingress at a constant rate", [message.id for message in found], prepared.ids)
        return measured

    return by_turns(
        run.extent.growth_rounds,
        lambda: run.prepare(installation.sources, events, body_bytes),
        hookline,
        lambda prepared: steady.measure(run, bare_ingress, prepared, rate_per_s, count)[0],
    )


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
