"""`hookline listen`: shows what a provider's console sends, without a queue."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from hookline.cli.known_names import unknown
from hookline.cli.options import as_pattern, config_option, json_option
from hookline.cli.output import say
from hookline.cli.saved_requests import SavedRequests
from hookline.runtime import logs
from hookline.runtime.event_loop import run_to_end
from hookline.runtime.worker_files import find_workers
from hookline.schemas import topics
from hookline.schemas.errors import SettingsError
from hookline.settings import Settings, load

if TYPE_CHECKING:
    from hookline.diagnosis.listener import Arrival


@click.command(
    epilog="""\b
    Examples:
      hookline listen
      hookline listen attendance.py      and what your worker does with it
      hookline listen --source calls --body
      hookline listen --topic "*.*.room.*" --json | jq .topic
      hookline listen --save refused     keep refused requests for hookline verify
    """
)
@click.argument("workers", nargs=-1, metavar="[WORKER]...")
@click.option("--source", "sources", multiple=True, help="Show only this source. Can be given several times.")
@click.option(
    "--topic",
    callback=as_pattern,
    metavar="PATTERN",
    help="Of accepted callbacks, show only topics that match: * is one word, # is any number of words.",
)
@click.option("--body", "with_body", is_flag=True, help="Show the bodies of accepted callbacks, without secrets.")
@click.option(
    "--save",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write each refused request into this folder, with its signature, for `hookline verify`.",
)
@click.option(
    "--save-max-files",
    type=click.IntRange(1),
    default=1000,
    show_default=True,
    help="Save no more once the folder has this many requests.",
)
@click.option(
    "--save-max-bytes",
    type=click.IntRange(1),
    default=64 * 2**20,
    show_default=True,
    help="Save no more than fits in this many bytes.",
)
@click.option("--port", type=click.IntRange(0, 65535), help="The port.  [default: that of the settings; 0 is any]")
@json_option
@config_option
def listen(  # noqa: PLR0913  one for each option
    workers: tuple[str, ...],
    *,
    sources: tuple[str, ...],
    topic: str | None,
    save: Path | None,
    save_max_files: int,
    save_max_bytes: int,
    port: int | None,
    config: Path,
    with_body: bool,
    as_json: bool,
) -> None:
    """Show callbacks as they arrive, and store nothing.

    This is for trying out the settings of a provider's console, without a queue. Requests are verified and answered as
    the ingress does it. An accepted callback is shown with its events, a refused request with each step that fits or
    fails. All workers of WORKER, a Python file or a module, are called with what they want, once. Do not leave it
    running: providers believe that their callbacks are stored.
    """
    logs.set_up("text")
    logging.getLogger("hookline.ingress").setLevel(logging.ERROR)  # what is refused is shown here
    settings = load(config, with_sources=True)
    _check_sources(settings, sources)
    saved = None if save is None else SavedRequests(save, max_files=save_max_files, max_bytes=save_max_bytes)
    found = find_workers(workers)
    limits = settings.ingress if port is None else msgspec.structs.replace(settings.ingress, port=port)
    from hookline.cli.arrival_output import Shown  # noqa: PLC0415  slow to load
    from hookline.diagnosis import listener  # noqa: PLC0415  see above

    show, wanted = Shown(settings, as_json=as_json, with_body=with_body), _Wanted(frozenset(sources), topic)

    def tell(arrival: "Arrival") -> None:
        if wanted.has(arrival):
            exact = arrival.exact if saved and isinstance(arrival, listener.Rejected) else None
            show(arrival, saved.keep(exact) if saved and exact else "")

    run_to_end(listener.listen(settings, limits, found, tell, _greeting(settings, sources)))


def _check_sources(settings: Settings, names: tuple[str, ...]) -> None:
    for name in names:
        if name not in settings.sources:
            raise SettingsError(f"{unknown('source', name, settings.source_names)} ({settings.path})")


def _greeting(settings: Settings, names: tuple[str, ...]) -> Callable[[str], None]:
    def opened(url: str) -> None:
        for source in (settings.sources[name] for name in names or settings.sources):
            say(f"{source.name} of {source.provider.title}: POST {url}/hooks/{source.name}", err=True)
        say(f"Listening on {url}. Nothing is stored, and callbacks are answered as if it were.", err=True)

    return opened


def _may_be_for_any(arrival: "Arrival") -> bool:
    """Whether nobody knows which source an arrival was sent to, since it could not be read."""
    from hookline.diagnosis.listener import Rejected  # noqa: PLC0415  slow to load

    return isinstance(arrival, Rejected) and not arrival.method


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What is to be shown: only these sources, if any are named, and of accepted callbacks these topics."""

    sources: frozenset[str]
    topic: str | None

    def has(self, arrival: "Arrival") -> bool:
        if self.sources and arrival.source not in self.sources:
            return _may_be_for_any(arrival)
        key = arrival.routing_key
        return self.topic is None or key is None or topics.matches(topics.binding(self.topic), key)
