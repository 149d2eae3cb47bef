"""A small ingress without a queue: it answers as the real one does, and tells what arrives instead of storing it."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeAlias

import msgspec

from hookline.aio.completion import completion_of
from hookline.diagnosis.captured import CapturedRequest
from hookline.diagnosis.steps import (
    Circumstances,
    Diagnosis,
    Step,
    concluded,
    diagnose,
    path_step,
    steps_of_head,
)
from hookline.diagnosis.trial import Called, Trial
from hookline.ingress.audit import RefusedCall, UnreadCall, exact_request
from hookline.ingress.connection import peer_of
from hookline.ingress.listening import raise_file_limit, within_files
from hookline.ingress.receive import Receiver
from hookline.ingress.server import Ingress
from hookline.ingress.settings import IngressSettings
from hookline.runtime.listening import cannot_listen
from hookline.runtime.shutdown import Stop
from hookline.schemas.broker import Confirm, Publisher
from hookline.schemas.envelope import Envelope
from hookline.schemas.errors import Unreadable
from hookline.schemas.events import CanonicalEvent
from hookline.schemas.observer import Observer
from hookline.schemas.provider import AnySource
from hookline.settings import Settings
from hookline.workers.api import Worker
from hookline.workers.normaliser import Normalise, normaliser
from hookline.workers.state import States


@dataclass(frozen=True, slots=True)
class Accepted:
    """A genuine callback, with its events; `fault` says why there are none if it cannot be read."""

    envelope: Envelope
    events: tuple[CanonicalEvent, ...]
    fault: str = ""

    @property
    def source(self) -> str:
        return self.envelope.source

    @property
    def at(self) -> datetime:
        return self.envelope.received_at

    @property
    def routing_key(self) -> str | None:
        return self.envelope.routing_key


@dataclass(frozen=True, slots=True)
class Checked:
    """A provider's check of the URL, which was answered."""

    source: str
    at: datetime
    routing_key: None = None


@dataclass(frozen=True, slots=True)
class Rejected:
    """A refused request, with the steps that it passed and failed. `exact` is all of it if its body was read.

    What could not be read as a request has no method and no path.
    """

    source: str
    at: datetime
    peer: str
    method: str
    path: str
    status: int
    reason: str
    detail: str
    diagnosis: Diagnosis
    exact: bytes | None
    routing_key: None = None


Arrival: TypeAlias = Accepted | Called | Checked | Rejected
Tell: TypeAlias = Callable[[Arrival], None]


async def listen(
    settings: Settings,
    limits: IngressSettings,
    workers: Sequence[Worker[Any]],
    tell: Tell,
    opened: Callable[[str], None],
) -> None:
    """Answer requests until SIGTERM or SIGINT, and call workers. `opened` gets the URL on which it listens.

    Raises Unreachable if it cannot listen, NotStarted or SettingsError for a worker.
    """
    stop, normalise = Stop(), normaliser(settings.providers, keep_urls=settings.workers.keep_urls)
    async with States(settings.workers.state_s) as states:
        trial = Trial([await states.ready(worker) for worker in workers], normalise, tell)
        ingress, url = await _open(settings, limits, _Publisher(trial, normalise, tell), tell)
        opened(url)
        try:
            await stop.wait([])
        finally:
            await ingress.stop()
            await trial.close(settings.workers.shutdown_s)


async def _open(settings: Settings, limits: IngressSettings, publisher: Publisher, tell: Tell) -> tuple[Ingress, str]:
    """An ingress that listens, and its URL. Raises Unreachable."""
    files = raise_file_limit()
    limits = within_files(msgspec.structs.replace(limits, processes=1, drain_s=0), files)
    recorder = _Recorder(settings, tell)
    receiver = Receiver(settings.sources, publisher, limits, settings.trusted_proxies, audit=recorder)
    receiver.observer = _Checks(tell)
    ingress = Ingress(receiver, limits, files if files > 0 else None)
    try:
        port = await ingress.start()
    except OSError as error:
        raise cannot_listen(limits.host, limits.port, error, elsewhere="choose another with --port") from None
    scheme, host = "https" if limits.tls_certificate else "http", limits.host
    return ingress, f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"


class _Publisher:
    """Tells of each envelope, and gives it to the workers. Nothing is stored."""

    ready = True
    reason = ""

    def __init__(self, trial: Trial, normalise: Normalise, tell: Tell) -> None:
        self._trial = trial
        self._normalise = normalise
        self._tell = tell

    async def publish(self, envelope: Envelope) -> None:
        try:
            self._tell(Accepted(envelope, self._normalise(envelope)))
        except Unreadable as fault:
            self._tell(Accepted(envelope, (), str(fault)))
        self._trial.call(envelope)

    def begin(self, envelope: Envelope) -> Confirm:
        return completion_of(self.publish(envelope))


class _Checks(Observer):
    def __init__(self, tell: Tell) -> None:
        self._tell = tell

    def checked(self, source: str) -> None:
        self._tell(Checked(source, datetime.now(UTC)))


class _Recorder:
    """Tells of each refused request, with its steps."""

    def __init__(self, settings: Settings, tell: Tell) -> None:
        self._settings = settings
        self._tell = tell

    def note(self, call: RefusedCall, sources: Collection[AnySource]) -> None:
        request, refusal, body = call.request, call.refusal, call.refusal.body
        seen = CapturedRequest(
            request.method, request.raw_path, request.version, request.headers, b"" if body is None else body
        )
        around = Circumstances(
            {each.name: each for each in sources}, self._settings.trusted_proxies, call.now_s, peer_of(request)
        )
        self._tell(
            Rejected(
                source=call.source.name if call.source else "",
                at=datetime.fromtimestamp(call.now_s, UTC),
                peer=peer_of(request),
                method=request.method,
                path=seen.path,
                status=call.status,
                reason=refusal.reason_for_operator,
                detail=refusal.for_operator,
                diagnosis=_diagnosed(seen, call.source, around, has_body=body is not None),
                exact=None if body is None else exact_request(request, body),
            )
        )

    def note_unread(self, call: UnreadCall) -> None:
        reason, detail = call.refusal.reason_for_operator, call.refusal.for_operator
        self._tell(
            Rejected(
                source="",
                at=datetime.fromtimestamp(call.now_s, UTC),
                peer=call.peer,
                method="",
                path="",
                status=call.status,
                reason=reason,
                detail=detail,
                diagnosis=concluded("", [Step("head", "fails", detail, reason)]),
                exact=None,
            )
        )

    def close(self) -> None:
        """Nothing waits."""


def _diagnosed(
    request: CapturedRequest, source: AnySource | None, around: Circumstances, *, has_body: bool
) -> Diagnosis:
    if source is None:
        return concluded("", [path_step(request.path, "", around.sources)])
    if not has_body:
        return concluded(source.name, [*steps_of_head(request, source, around)])
    return diagnose(request, source, around)
