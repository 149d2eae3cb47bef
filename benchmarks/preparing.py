"""Hookline on RabbitMQ, ready for the rounds of a row."""

from benchmarks import filling, queues
from benchmarks.installation import Installation
from benchmarks.run import DEFAULT_STORE, Run
from hookline.schemas.provider import AnySource

_SIGNED_FOR_GO = "krtc"


def with_empty_queue(run: Run, store_url: str = DEFAULT_STORE) -> Installation:
    """A new installation; the queue of the unordered worker is its only one, and empty."""
    installation = run.installation(store_url)
    queues.clear(run.servers.amqp_url)
    filling.make_queue(installation.settings)
    return installation


def signed_for_go(installation: Installation) -> AnySource:
    """The source whose signature the reference in Go verifies."""
    (source,) = [each for each in installation.sources.values() if each.provider.name == _SIGNED_FOR_GO]
    return source
