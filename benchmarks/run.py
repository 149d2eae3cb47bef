"""One run of the suite: its folder and servers, how long it measures, and its progress messages."""

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import click

from benchmarks.callbacks import CallbackGenerator, Prepared
from benchmarks.installation import USUAL, Installation
from benchmarks.servers import Servers
from hookline.schemas.provider import AnySource

DEFAULT_STORE = "sqlite:store.db"
_EMBEDDED = "sqlite:hookline.db"


@dataclass(frozen=True, slots=True)
class Extent:
    """`rounds` of two turns, of `seconds` each, or of `events` where a queue is drained.

    `waiting` is the size of a long queue, `spooled` that of a full spool.
    """

    rounds: int = 5
    seconds: int = 2
    events: int = 20_000
    waiting: int = 1_000_000
    spooled: int = 100_000

    @property
    def growth_rounds(self) -> int:
        """Rounds of each of the many rows that differ in one number."""
        return (self.rounds + 1) // 2


@dataclass(frozen=True)
class Run:
    """`most_per_s` is more requests than any of the programs answers here."""

    folder: Path
    servers: Servers
    extent: Extent
    most_per_s: int = 0
    callbacks: CallbackGenerator = field(default_factory=CallbackGenerator)
    _started: float = field(default_factory=time.monotonic)

    def say(self, text: str) -> None:
        click.echo(f"{time.monotonic() - self._started:5.0f} s  {text}", err=True)

    def prepare(self, sources: Mapping[str, AnySource], count: int = 0, body_bytes: int = 0) -> Prepared:
        """Requests for one round, signed now: `count`, or by default more than can be sent in a round."""
        count = count or self.most_per_s * self.extent.seconds
        return self.callbacks.prepare(self.folder / "requests", sources, count, body_bytes)

    def new_folder(self) -> Path:
        return Path(tempfile.mkdtemp(dir=self.folder))

    def installation(self, store_url: str = DEFAULT_STORE, sources_per_provider: int = 1) -> Installation:
        """Hookline in a folder of its own, on RabbitMQ."""
        return Installation(self.new_folder(), self.servers.amqp_url, store_url, sources_per_provider)

    def embedded(self, providers: Sequence[str] = USUAL) -> Installation:
        """Hookline in a folder of its own, on the embedded broker."""
        return Installation(self.new_folder(), _EMBEDDED, _EMBEDDED, providers=providers)
