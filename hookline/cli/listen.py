"""`hookline listen`: shows what a provider's console sends, without a queue."""

import logging
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, assert_never

import click
import msgspec

from hookline.cli import diagnosis_output
from hookline.cli.known_names import unknown
from hookline.cli.options import as_pattern, config_option, json_option
from hookline.runtime import logs
from hookline.runtime.event_loop import run_to_end
from hookline.runtime.logs import printable
from hookline.schemas import topics
from hookline.schemas.errors import SettingsError
from hookline.schemas.events import CanonicalEvent, event_topic
from hookline.schemas.form import FORM
from hookline.schemas.redaction import redacted_body
from hookline.settings import Settings, load

if TYPE_CHECKING:
    from hookline.diagnosis.listener import Accepted, Arrival, Rejected

_SHARED_FIELDS = frozenset(field.name for field in msgspec.structs.fields(CanonicalEvent))
_MAX_BODY_BYTES = 16 * 2**10
_STYLES = {"accepted": "green", "checked": "cyan", "refused": "red"}


@click.command(
    epilog="""\b
    Examples:
      hookline listen
      hookline listen --source calls --body
      hookline listen --topic "*.*.room.*" --json | jq .topic
      hookline listen --save refused     then hookline verify calls --request refused/1.http
    """
)
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
@click.option("--port", type=click.IntRange(0, 65535), help="The port.  [default: that of the settings; 0 is any]")
@json_option
@config_option
def listen(  # noqa: PLR0913  one for each option
    sources: tuple[str, ...],
    topic: str | None,
    save: Path | None,
    port: int | None,
    config: Path,
    *,
    with_body: bool,
    as_json: bool,
) -> None:
    """Show callbacks as they arrive, and store nothing.

    This is for trying out the settings of a provider's console, without a queue and without workers. Requests are
    verified and answered as the ingress does it. An accepted callback is shown with its events, a refused request with
    each step that fits or fails. Do not leave it running: providers believe that their callbacks are stored.
    """
    logs.set_up("text")
    logging.getLogger("hookline.ingress").setLevel(logging.ERROR)  # what is refused is shown here
    settings = load(config, with_sources=True)
    for name in sources:
        if name not in settings.sources:
            raise SettingsError(f"{unknown('source', name, settings.source_names)} ({settings.path})")
    from hookline.diagnosis import listener  # noqa: PLC0415  slow to load

    saved = None if save is None else _Saved(save)
    show = _Shown(settings, as_json=as_json, with_body=with_body)

    def tell(arrival: "Arrival") -> None:
        name = arrival.envelope.source if isinstance(arrival, listener.Accepted) else arrival.source
        if sources and name not in sources:
            return
        if isinstance(arrival, listener.Accepted) and topic is not None and not _matches(topic, arrival):
            return
        exact = arrival.exact if isinstance(arrival, listener.Rejected) else None
        place = saved.keep(exact) if saved and exact else ""
        show(arrival, place)

    limits = settings.ingress if port is None else msgspec.structs.replace(settings.ingress, port=port)
    run_to_end(listener.listen(settings, limits, tell, _greeting(settings)))


def _matches(pattern: str, arrival: "Accepted") -> bool:
    return topics.matches(topics.binding(pattern), arrival.envelope.routing_key)


def _greeting(settings: Settings) -> Callable[[str], None]:
    def opened(url: str) -> None:
        for source in settings.sources.values():
            click.echo(f"{source.name} of {source.provider.title}: POST {url}/hooks/{source.name}", err=True)
        click.echo(f"Listening on {url}. Nothing is stored, and callbacks are answered as if it were.", err=True)

    return opened


class _Saved:
    """A folder of refused requests, which only its owner can read."""

    def __init__(self, folder: Path) -> None:
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise click.BadParameter(f"{folder}: {error.strerror}", param_hint="--save") from None
        self._folder = folder
        self._number = 0

    def keep(self, exact: bytes) -> str:
        """The path of a new file with this request."""
        while True:
            self._number += 1
            path = self._folder / f"{self._number}.http"
            try:
                path.touch(mode=0o600, exist_ok=False)
            except FileExistsError:
                continue
            path.write_bytes(exact)
            return str(path)


class _Shown:
    """Prints arrivals, as lines of text or as one JSON object each."""

    def __init__(self, settings: Settings, *, as_json: bool, with_body: bool) -> None:
        self._settings = settings
        self._as_json = as_json
        self._with_body = with_body

    def __call__(self, arrival: "Arrival", place: str) -> None:
        if self._as_json:
            click.echo(msgspec.json.encode(self._facts(arrival, place)).decode())
            return
        for line in self._lines(arrival, place):
            click.echo(line)

    def _lines(self, arrival: "Arrival", place: str) -> Iterator[str]:
        from hookline.diagnosis.listener import Accepted, Checked, Rejected  # noqa: PLC0415  see above

        match arrival:
            case Accepted():
                yield from self._lines_of_accepted(arrival)
            case Checked():
                yield _line(arrival.at, arrival.source, "checked", "the provider's check of the URL is answered")
            case Rejected():
                yield from _lines_of_rejected(arrival, place)
            case _:
                assert_never(arrival)

    def _lines_of_accepted(self, arrival: "Accepted") -> Iterator[str]:
        envelope = arrival.envelope
        of = f" of {envelope.subject}" if envelope.subject else ""
        text = f"{envelope.event_type}{of} ({envelope.id})"
        yield _line(envelope.received_at, envelope.source, "accepted", f"{text}{arrival.fault and ': '}{arrival.fault}")
        for event in arrival.events:
            fields = [f"{name}={value}" for name, value in _fields(event).items()]
            yield f"    {printable(' '.join([event_topic(event), *fields]))}"
        if self._with_body:
            yield f"    {printable(self._body(arrival))}"

    def _body(self, arrival: "Accepted") -> str:
        provider = self._settings.sources[arrival.envelope.source].provider
        hidden, is_form = provider.secret_fields | provider.url_fields, provider.content_type == FORM
        found = redacted_body(arrival.envelope.body, hidden, _MAX_BODY_BYTES, is_form=is_form)
        return f"(a body of {len(arrival.envelope.body):,} bytes that cannot be read)" if found is None else found

    def _facts(self, arrival: "Arrival", place: str) -> dict[str, Any]:
        from hookline.diagnosis.listener import Accepted, Checked, Rejected  # noqa: PLC0415  see above

        match arrival:
            case Accepted():
                return self._facts_of_accepted(arrival)
            case Checked():
                return {"at": arrival.at, "source": arrival.source, "result": "checked"}
            case Rejected():
                return _facts_of_rejected(arrival, place)
            case _:
                assert_never(arrival)

    def _facts_of_accepted(self, arrival: "Accepted") -> dict[str, Any]:
        envelope = arrival.envelope
        found = {"at": envelope.received_at, "source": envelope.source, "result": "accepted", "id": envelope.id}
        found |= {"topic": envelope.topic, "subject": envelope.subject, "fault": arrival.fault}
        found |= {"events": [{"topic": event_topic(each), **_fields(each)} for each in arrival.events]}
        return found | ({"body": self._body(arrival)} if self._with_body else {})


def _lines_of_rejected(arrival: "Rejected", place: str) -> Iterator[str]:
    text = f"{arrival.status} {arrival.reason} to {arrival.method} {arrival.path} from {arrival.peer}: {arrival.detail}"
    yield _line(arrival.at, arrival.source or "-", "refused", text)
    yield from diagnosis_output.lines(arrival.diagnosis, indent=4)
    if place:
        yield f"    saved as {printable(place)}"


def _facts_of_rejected(arrival: "Rejected", place: str) -> dict[str, Any]:
    found = {"at": arrival.at, "source": arrival.source, "result": "refused", "status": arrival.status}
    found |= {"reason": arrival.reason, "detail": arrival.detail}
    found |= {"method": arrival.method, "path": arrival.path, "peer": arrival.peer}
    return found | {"steps": arrival.diagnosis.steps} | ({"saved": place} if place else {})


def _fields(event: CanonicalEvent) -> dict[str, Any]:
    """The fields of its own that an event has."""
    found: dict[str, Any] = msgspec.to_builtins(event)
    return {name: value for name, value in found.items() if name not in {*_SHARED_FIELDS, "type"} and value is not None}


def _line(at: datetime, source: str, result: str, text: str) -> str:
    shown = click.style(f"{result:<8}", fg=_STYLES[result])
    return f"{at.astimezone():%H:%M:%S}  {source:<12}  {shown}  {printable(text)}"
