"""One run of the suite: where it works, how long it measures, and what it says meanwhile."""

import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import click

from benchmarks.callbacks import Prepared, Storyteller
from benchmarks.installation import Installation
from benchmarks.servers import Servers
from hookline.schemas.provider import AnySource

DEFAULT_STORE = "sqlite:store.db"
_EMBEDDED = "sqlite:hookline.db"


@dataclass(frozen=True, slots=True)
class Extent:
    """`rounds` of `seconds` each, or of so many `events` where a queue is emptied; `waiting` is how many are a lot."""

    rounds: int = 3
    seconds: int = 3
    events: int = 20_000
    waiting: int = 1_000_000

    @property
    def growth_rounds(self) -> int:
        """Of the many rows that differ in one number."""
        return (self.rounds + 1) // 2


@dataclass(frozen=True)
class Run:
    """`most_per_s` is more than any of the programs answers here."""

    folder: Path
    servers: Servers
    extent: Extent
    most_per_s: int = 0
    storyteller: Storyteller = field(default_factory=Storyteller)
    _started: float = field(default_factory=time.monotonic)

    def say(self, text: str) -> None:
        click.echo(f"{time.monotonic() - self._started:5.0f} s  {text}", err=True)

    def prepare(self, sources: Mapping[str, AnySource], count: int = 0, body_bytes: int = 0) -> Prepared:
        """Requests for one round, signed now: more than can be sent in it, unless a number is named."""
        count = count or self.most_per_s * self.extent.seconds
        return self.storyteller.prepare(self.folder / "requests", sources, count, body_bytes)

    def new_folder(self) -> Path:
        return Path(tempfile.mkdtemp(dir=self.folder))

    def installation(self, store_url: str = DEFAULT_STORE, sources_per_provider: int = 1) -> Installation:
        """Hookline in a folder of its own, on RabbitMQ."""
        return Installation(self.new_folder(), self.servers.amqp_url, store_url, sources_per_provider)

    def embedded(self, sources_per_provider: int = 1) -> Installation:
        """Hookline in a folder of its own, as it is without any server."""
        return Installation(self.new_folder(), _EMBEDDED, _EMBEDDED, sources_per_provider)
