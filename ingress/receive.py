"""The way of one request: receive, verify, identify, seal, publish, and the provider's reply."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

import msgspec
from aiohttp import hdrs, web

from hookline.aio.cancellation import is_cancelled
from hookline.aio.throttle import Throttle, said_less
from hookline.ingress import responses
from hookline.ingress.acceptances import Acceptances
from hookline.ingress.audit import RefusalRecorder, RefusedCall, UnreadCall
from hookline.ingress.client_address import Network, check_address, client_address
from hookline.ingress.connection import IngressConnection, Whole, peer_of
from hookline.ingress.recent_events import RecentEvents
from hookline.ingress.refusals import WINDOW_S, Origin, Refusals
from hookline.ingress.request import check_head, check_target, ordinary_body, read_body
from hookline.ingress.responses import Accepted
from hookline.ingress.settings import IngressSettings
from hookline.ingress.signature_memory import SignatureMemory, signature_memories
from hookline.schemas.broker import Publisher
from hookline.schemas.envelope import TRACE_HEADER, Envelope, moment, seal, unreadable
from hookline.schemas.errors import MalformedRequest, Refused, UnknownSource, Unreadable
from hookline.schemas.observer import NOBODY
from hookline.schemas.provider import AnySource, Headers, Reply, Request

log = logging.getLogger("hookline.ingress")

_QUIET_TURNS = 10
"""How many turns of the event loop a connection takes from being accepted to its first request, and some more."""

_NO_SOURCE = "no source has this path"


class Receiver:
    """Answers every HTTP request of the ingress: callbacks of all sources, and health checks."""

    def __init__(
        self,
        sources: Mapping[str, AnySource],
        publisher: Publisher,
        settings: IngressSettings,
        trusted_proxies: Sequence[Network] = (),
        clock: Callable[[], float] = time.time,
        audit: RefusalRecorder | None = None,
    ) -> None:
        self._signatures: Mapping[str, SignatureMemory] = {}
        self.use(sources, trusted_proxies)
        self.publisher = publisher
        self._settings = settings
        self.clock = clock
        self._audit = audit
        self._refusals = Refusals(settings.max_unverified_per_10_s)
        self._throttle = Throttle(WINDOW_S)
        self._recent = RecentEvents()
        self._in_flight = 0
        self._nothing_in_flight = asyncio.Event()
        self.draining = False
        self.observer = NOBODY
        self.acceptances: Acceptances | None = None
        """Logs what is accepted, where no worker's log shows it."""
        self.traces = False
        """Whether envelopes get the `traceparent` of their request."""

    @property
    def faults(self) -> Sequence[str]:
        """Why no callback is accepted now: `/readyz` says the same."""
        if self.draining:
            return ["draining"]
        return [] if self.publisher.ready else [self.publisher.reason]

    def use(self, sources: Mapping[str, AnySource], trusted_proxies: Sequence[Network]) -> None:
        """Receive the next requests for these sources."""
        self._sources = {f"/hooks/{name}": source for name, source in sources.items()}
        self.trusted_proxies = trusted_proxies
        self._signatures = signature_memories(sources, self._signatures)

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """The response to any request. A fault of ours becomes a 503, so that the provider sends the callback again."""
        connection: IngressConnection = request.protocol  # type: ignore[assignment]  # no others are made
        if connection.failure is None:
            self._in_flight += 1  # one from the fast lane has been counted
        try:
            if connection.failure is not None:
                connection.raise_failure()  # as if it had happened here
            if connection.has_rest:
                await connection.turns.wait(request.content.total_bytes)
            response = await self.receive(request)
        except Refused as refusal:
            response = self._refused(request, refusal)
        except asyncio.CancelledError:
            if is_cancelled():
                raise
            self._log("%s: a request failed: something that it awaited was cancelled", self._source_name(request))
            response = responses.unavailable()
        except Exception:  # noqa: BLE001  logged with its traceback
            name = self._source_name(request)
            self._log("%s: a request failed because of an error in the ingress", name, exc_info=True)
            response = responses.unavailable()
        finally:
            connection.load.held_bytes -= connection.held_bytes
            connection.held_bytes = 0
            if connection.has_rest:
                connection.hold_rest()
            self.end()
        if self.draining or connection.is_ending or request._message.upgrade:  # noqa: SLF001  the parser then loses what follows
            response.force_close()
        return response

    async def receive(self, request: web.BaseRequest) -> web.StreamResponse:
        """The response to a callback, from its head to the provider's reply; or to a health check. Raises Refused."""
        path, _, query = request.raw_path.partition("?")
        source = self._sources.get(path)
        if source is None:
            return self._health(request, path)
        if request.method == "GET" and source.provider.checks_url_by_get:
            return self._visited(request, source.provider.reply)
        started_s = time.monotonic()
        self._check_before_body(request, source)
        body = await read_body(request, source.max_body_bytes, self._settings.body_timeout_s, self.trusted_proxies)
        if self._sources.get(path) is not source:
            source = self._read_anew(request, path)
        callback = Request(body, request.headers, query)
        checked = self.verify(callback, source, self.clock())
        if checked is not None:
            return Accepted(checked)
        envelope = self.seal(callback, source, moment(self.clock()))
        sealed_s = time.monotonic()
        await self.publisher.begin(envelope)
        self.note_durable(envelope, started_s, sealed_s)
        return Accepted(source.provider.reply)

    def _check_before_body(self, request: web.BaseRequest, source: AnySource) -> None:
        check_head(request, source.max_body_bytes)
        if source.allow_from:
            self.check_address(source, peer_of(request), request.headers)

    def _read_anew(self, request: web.BaseRequest, path: str) -> AnySource:
        """The source after the settings were read anew while a body arrived: a removed secret verifies nothing."""
        source = self._sources.get(path)
        if source is None:
            raise UnknownSource(_NO_SOURCE)
        self._check_before_body(request, source)
        return source

    def arrive(self, request: Whole) -> tuple[Request, AnySource] | None:
        """A whole, ordinary request as a callback, in flight until `end`; None if `receive` has to look at it.

        The next steps are those of `receive`. If one raises, `answer` makes a response of it, and ends the request.
        """
        head, body = request
        path, _, query = head.path.partition("?")
        source = self._sources.get(path)
        content = None if source is None else ordinary_body(head, body, source.max_body_bytes)
        if source is None or content is None:
            return None
        self._in_flight += 1
        return Request(content, head.headers, query), source

    def note_durable(self, envelope: Envelope, started_s: float, sealed_s: float) -> None:
        """Note an event that may be answered, with the times of `time.monotonic` when it arrived and was sealed."""
        durable_s = time.monotonic()
        self.observer.accepted(envelope, durable_s - sealed_s, durable_s - started_s)
        if self.acceptances is not None:
            self.acceptances.note(envelope)
        first = self._recent.repeated(envelope)
        if first is not None:
            self._compare(first, envelope)

    def _compare(self, first: Envelope, second: Envelope) -> None:
        """Count two envelopes of one id that say different things."""
        source = self._sources.get(f"/hooks/{second.source}")
        if source is not None and self._recent.contradicts(first, second, source):
            self.observer.conflicted(source.name)

    def end(self) -> None:
        """One request less is in flight."""
        self._in_flight -= 1
        if not self._in_flight:
            self._nothing_in_flight.set()

    def check_address(self, source: AnySource, peer: str, headers: Headers) -> None:
        """Raise RefusedAddress unless the source allows the sender's address."""
        check_address(peer, headers, source.allow_from, self.trusted_proxies)

    def verify(self, callback: Request, source: AnySource, now_s: float) -> Reply | None:
        """The reply to a check of the URL, which is no event; None for a genuine callback. Raises Refused."""
        provider = source.provider
        try:
            if provider.challenge is not None:
                reply = provider.challenge(callback, source, now_s)
                if reply is not None:
                    self.observer.checked(source.name)
                    return reply
            provider.verify(callback, source, now_s)
            if provider.signatures is not None:
                self.check_signature(callback, source)
        except Refused as refusal:
            refusal.body = callback.body
            raise
        return None

    def seal(self, callback: Request, source: AnySource, received_at: datetime) -> Envelope:
        """Identify and seal: the envelope of a genuine callback. One that cannot be read is kept, too."""
        provider = source.provider
        kept = provider.keep_query(callback.query) if provider.keep_query else ""
        types = callback.headers.getall(hdrs.CONTENT_TYPE, ())
        try:  # it sees no signature in the query
            identity = provider.identify(Request(callback.body, callback.headers, kept) if kept else callback)
        except Unreadable as fault:
            self._log("%s: a genuine callback cannot be read: %s", source.name, fault, level=logging.WARNING)
            identity = unreadable(callback.body)
        envelope = seal(
            identity,
            callback.body,
            provider=provider.name,
            source=source.name,
            content_type=(types[0] if types else "") or provider.content_type,  # a CloudEvent has no empty one
            received_at=received_at,
            query=kept,
        )
        if self.traces:
            caller = next(iter(callback.headers.getall(TRACE_HEADER, ())), "")
            return msgspec.structs.replace(envelope, traceparent=caller)
        return envelope

    def check_signature(self, callback: Request, source: AnySource) -> None:
        """Note a verified callback whose signature does not cover the body. Raises BadSignature beyond a limit."""
        memory = self._signatures.get(source.name)
        if memory is not None:
            memory.check(callback)

    def _refused(self, request: web.BaseRequest, refusal: Refused) -> web.StreamResponse:
        """The response to a request that is not accepted, which is counted, logged and recorded."""
        now_s, source = self.clock(), self._source_of(request)
        name = source.name if source else "-"
        answered = self._refusals.note(name, refusal, now_s, lambda: self._origin(request))
        self.observer.refused(name, answered.reason_for_operator)
        response = responses.refused(answered)
        if self._audit is not None:
            call = RefusedCall(request, source, answered, response.status, now_s)
            self._audit.note(call, self._sources.values())
        return response

    def _origin(self, request: web.BaseRequest) -> Origin:
        """What the log says of a request: nothing that could hold a secret."""
        peer, path = peer_of(request), request.raw_path.partition("?")[0]
        client = client_address(peer, request.headers, self.trusted_proxies)
        return Origin(peer if client is None else str(client), request.method, path)

    def note_unread(self, refusal: Refused, address: str, status: int) -> None:
        """Count, log and record what was refused before it could be read as a request."""
        now_s = self.clock()
        self._refusals.note("-", refusal, now_s, lambda: Origin(address))
        self.observer.refused("-", refusal.reason_for_operator)
        if self._audit is not None:
            self._audit.note_unread(UnreadCall(address, refusal, status, now_s))

    def _health(self, request: web.BaseRequest, path: str) -> web.Response:
        check_target(request)
        reason = ""
        match path:
            case "/healthz":
                status, ok = "ok", True
            case "/readyz" if self.draining:
                status, ok = "draining", False
            case "/readyz":
                status, ok = ("ready", True) if self.publisher.ready else ("not ready", False)
                reason = self.publisher.reason
            case _:
                raise UnknownSource(_NO_SOURCE)
        if request.body_exists:
            raise MalformedRequest("a health check has no body")
        return responses.health(status=status, reason=reason, ok=ok)

    def _visited(self, request: web.BaseRequest, reply: Reply) -> web.StreamResponse:
        """The response to a provider that only looks whether something answers at the URL. Raises MalformedRequest."""
        check_target(request)
        if request.body_exists:
            raise MalformedRequest("a check of the URL has no body")
        return Accepted(reply)

    def _source_of(self, request: web.BaseRequest) -> AnySource | None:
        return self._sources.get(request.raw_path.partition("?")[0])

    def _source_name(self, request: web.BaseRequest) -> str:
        source = self._source_of(request)
        return source.name if source else "-"

    def _log(
        self, text: str, source: str, *arguments: object, level: int = logging.ERROR, exc_info: bool = False
    ) -> None:
        """Log this for a source, unless that was done in the last ten seconds."""
        held_back = self._throttle.admit((text, source))
        if held_back is not None:
            line = text % (source, *arguments)
            log.log(level, "%s%s", line, said_less(held_back), exc_info=exc_info)

    async def finish(self, timeout_s: float) -> None:
        """Wait until every request whose head has arrived is answered, for at most `timeout_s`; then end the audit."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._quiet()
        except TimeoutError:
            log.warning("requests abandoned at shutdown: %d", self._in_flight)
        if self.acceptances is not None:
            self.acceptances.log_rest()
        if self._audit is not None:
            self._audit.close()

    async def _quiet(self) -> None:
        """Return once nothing has been in flight for some turns, in which requests that have arrived begin."""
        turns = 0
        while turns < _QUIET_TURNS:
            if self._in_flight:
                self._nothing_in_flight.clear()
                await self._nothing_in_flight.wait()
                turns = 0
            await asyncio.sleep(0)
            turns += 1
