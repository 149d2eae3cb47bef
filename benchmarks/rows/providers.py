"""What each provider's callbacks cost the ingress before they are published: the proof, and the identity."""

import itertools
import time
from collections.abc import Iterator, Sequence

from multidict import CIMultiDict

from benchmarks.figures import Measured, Row, Target
from benchmarks.run import Run
from hookline.schemas.provider import AnySource, Request
from hookline.schemas.providers import catalogue

BODY_BYTES = 1000
_CALLBACKS = 200
_TARGET = Target("<=", 40)


def proof_and_identity(run: Run) -> Iterator[Row]:
    """CPU time of `verify` and `identify` for a body of 1 kB, of each provider."""
    for source in run.embedded(tuple(catalogue())).sources.values():
        requests = callbacks(run, source)
        rounds = [measured(source, requests, run.extent.seconds / 10) for _ in range(run.extent.rounds)]
        name = f"verify and identify, {source.provider.name}"
        yield Row(name=name, unit="µs", figure=_us, ours=rounds, target=_TARGET)


def callbacks(run: Run, source: AnySource) -> Sequence[Request]:
    """Callbacks of all types, signed now."""
    made = itertools.islice(run.callbacks.outgoing([source], BODY_BYTES), _CALLBACKS)
    return [Request(outgoing.body, CIMultiDict(outgoing.headers), outgoing.query) for _, outgoing in made]


def measured(source: AnySource, requests: Sequence[Request], seconds: float) -> Measured:
    """All callbacks, again and again for so long."""
    provider, now_s, count = source.provider, time.time(), 0
    started = time.process_time()
    while (spent := time.process_time() - started) < seconds or not count:
        for request in requests:
            provider.verify(request, source, now_s)
            provider.identify(request)
        count += len(requests)
    return Measured(events=count, seconds=spent, cpu_s={"program": spent})


def _us(measured: Measured) -> float:
    return measured.cpu_us()
