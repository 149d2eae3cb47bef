"""Hookline on RabbitMQ, ready for the rounds of a row."""

from benchmarks import filling, queues
from benchmarks.installation import Installation
from benchmarks.run import DEFAULT_STORE, Run


def with_empty_queue(run: Run, store_url: str = DEFAULT_STORE) -> Installation:
    """A new installation; the queue of the unordered worker is its only one, and empty."""
    installation = run.installation(store_url)
    queues.clear(run.servers.amqp_url)
    filling.make_queue(installation.settings)
    return installation
