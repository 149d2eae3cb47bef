"""What `hookline listen` prints of each arrival: lines of text, or one JSON object."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any, assert_never

import click
import msgspec

from hookline.cli import diagnosis_output
from hookline.cli.output import as_json_line, coloured
from hookline.diagnosis.listener import Accepted, Arrival, Checked, Rejected
from hookline.diagnosis.trial import Called
from hookline.runtime.logs import printable
from hookline.schemas.broker import Again, Done, Outcome, Parked
from hookline.schemas.events import CanonicalEvent, event_topic
from hookline.schemas.form import FORM
from hookline.schemas.redaction import redacted_body
from hookline.settings import Settings

_SHARED_FIELDS = frozenset(field.name for field in msgspec.structs.fields(CanonicalEvent))
_MAX_BODY_BYTES = 16 * 2**10
_STYLES = {"accepted": "green", "called": "green", "failed": "red", "checked": "cyan", "refused": "red"}


class Shown:
    """Prints arrivals. Nothing that it prints holds a signature or a secret."""

    def __init__(self, settings: Settings, *, as_json: bool, with_body: bool) -> None:
        self._settings = settings
        self._as_json = as_json
        self._with_body = with_body

    def __call__(self, arrival: Arrival, place: str) -> None:
        """Print one. `place` is the file that a refused request was saved in, if it was."""
        body = self._body(arrival) if self._with_body and isinstance(arrival, Accepted) else None
        if self._as_json:
            click.echo(as_json_line(_facts(arrival, body, place)))
        else:
            click.echo("\n".join(_lines(arrival, body, place)))

    def _body(self, arrival: Accepted) -> str:
        provider, body = self._settings.sources[arrival.source].provider, arrival.envelope.body
        hidden, is_form = provider.secret_fields | provider.url_fields, provider.content_type == FORM
        found = redacted_body(body, hidden, _MAX_BODY_BYTES, is_form=is_form)
        return f"(a body of {len(body):,} bytes that cannot be read)" if found is None else found


def _lines(arrival: Arrival, body: str | None, place: str) -> Iterator[str]:
    match arrival:
        case Accepted():
            yield from _lines_of_accepted(arrival, body)
        case Called():
            yield from _lines_of_called(arrival)
        case Checked():
            yield _line(arrival.at, arrival.source, "checked", "the provider's check of the URL is answered")
        case Rejected():
            yield from _lines_of_rejected(arrival, place)
        case _:
            assert_never(arrival)


def _facts(arrival: Arrival, body: str | None, place: str) -> dict[str, Any]:
    head = {"at": arrival.at, "source": arrival.source}
    match arrival:
        case Accepted():
            return head | {"result": "accepted"} | _facts_of_accepted(arrival, body)
        case Called():
            return head | _facts_of_called(arrival)
        case Checked():
            return head | {"result": "checked"}
        case Rejected():
            return head | {"result": "refused"} | _facts_of_rejected(arrival, place)
        case _:
            assert_never(arrival)


def _lines_of_accepted(arrival: Accepted, body: str | None) -> Iterator[str]:
    envelope = arrival.envelope
    of = f" of {envelope.subject}" if envelope.subject else ""
    fault = f": {arrival.fault}" if arrival.fault else ""
    yield _line(arrival.at, arrival.source, "accepted", f"{envelope.event_type}{of} ({envelope.id}){fault}")
    for event in arrival.events:
        fields = [f"{name}={value}" for name, value in _fields(event).items()]
        yield f"    {printable(' '.join([event_topic(event), *fields]))}"
    if body is not None:
        yield f"    {printable(body)}"


def _facts_of_accepted(arrival: Accepted, body: str | None) -> dict[str, Any]:
    envelope = arrival.envelope
    events = [{"topic": event_topic(each), **_fields(each)} for each in arrival.events]
    found = {"id": envelope.id, "topic": envelope.topic, "subject": envelope.subject, "fault": arrival.fault}
    return found | {"events": events} | ({} if body is None else {"body": body})


def _lines_of_called(arrival: Called) -> Iterator[str]:
    result, reason, error = _ending(arrival.outcome)
    text = f"{arrival.queue}: {reason}, {arrival.ms} ms ({arrival.envelope.id})"
    yield _line(arrival.at, arrival.source, result, text)
    yield from (f"    {printable(line)}" for line in error.splitlines())


def _facts_of_called(arrival: Called) -> dict[str, Any]:
    result, reason, error = _ending(arrival.outcome)
    found = {"result": result, "queue": arrival.queue, "id": arrival.envelope.id}
    return found | {"reason": reason, "error": error, "ms": arrival.ms}


def _ending(outcome: Outcome) -> tuple[str, str, str]:
    """Whether a call went well, its reason, and the traceback of what failed."""
    match outcome:
        case Done(reason):
            return "called", reason, ""
        case Again(_, _, reason, _, error):
            return "called", f"again ({reason})", error
        case Parked(reason, detail):
            return "failed", reason, detail
        case _:
            assert_never(outcome)


def _lines_of_rejected(arrival: Rejected, place: str) -> Iterator[str]:
    to = f" to {arrival.method} {arrival.path}" if arrival.method else ""
    text = f"{arrival.status} {arrival.reason}{to} from {arrival.peer}: {arrival.detail}"
    yield _line(arrival.at, arrival.source or "-", "refused", text)
    yield from diagnosis_output.lines(arrival.diagnosis, indent=4)
    if place:
        yield f"    saved as {printable(place)}"


def _facts_of_rejected(arrival: Rejected, place: str) -> dict[str, Any]:
    found = {"status": arrival.status, "reason": arrival.reason, "detail": arrival.detail}
    found |= {"method": arrival.method, "path": arrival.path, "peer": arrival.peer}
    return found | {"steps": arrival.diagnosis.steps} | ({"saved": place} if place else {})


def _fields(event: CanonicalEvent) -> dict[str, Any]:
    """The fields of its own that an event has."""
    found: dict[str, Any] = msgspec.to_builtins(event)
    return {name: value for name, value in found.items() if name not in {*_SHARED_FIELDS, "type"} and value is not None}


def _line(at: datetime, source: str, result: str, text: str) -> str:
    shown = coloured(f"{result:<8}", _STYLES[result])
    return f"{at.astimezone():%H:%M:%S}  {source:<12}  {shown}  {printable(text)}"
