"""The way of one request: receive, verify, seal, publish, and the provider's reply."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence

from aiohttp import hdrs, web

from hookline.ingress import responses
from hookline.ingress.responses import Accepted
from hookline.ingress.client_address import Network, check_address
from hookline.ingress.request import check_head, check_target, query_of, read_body
from hookline.ingress.refusals import Refusals
from hookline.ingress.settings import IngressSettings
from hookline.schemas.broker import Publisher
from hookline.schemas.envelope import Envelope, moment, seal, unreadable
from hookline.schemas.errors import MalformedRequest, NotDurable, Refused, UnknownSource, Unreadable
from hookline.schemas.provider import AnySource, Request

log = logging.getLogger("hookline.ingress")

_PREFIX = "/hooks/"


class Receiver:
    """The door's main path, for all sources."""

    def __init__(
        self,
        sources: Mapping[str, AnySource],
        publisher: Publisher,
        settings: IngressSettings,
        trusted_proxies: Sequence[Network] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._sources = sources
        self._publisher = publisher
        self._settings = settings
        self._trusted_proxies = trusted_proxies
        self._clock = clock
        self._refusals = Refusals(settings.max_unverified_per_10_s)
        self._in_flight = 0
        self._nothing_in_flight = asyncio.Event()
        self.draining = False

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer any request. Whatever goes wrong on our side is 503, so that the provider sends it again."""
        name = "-"
        self._in_flight += 1
        try:
            path = check_target(request)
            if path.startswith(_PREFIX):
                source = self._source(path)
                name = source.name
                response = await self.receive(request, source)
            else:
                response = self._health(path, request)
        except Refused as refusal:
            response = responses.refused(self._refusals.note(name, refusal, self._clock()))
        except asyncio.CancelledError:
            if _is_cancelled():
                raise
            log.error("%s: a request failed because what it waited for was cancelled", name)
            response = responses.refused(NotDurable("the event could not be taken now"))
        except Exception:
            log.exception("%s: a request failed for a reason of ours", name)
            response = responses.refused(NotDurable("the event could not be taken now"))
        finally:
            self._leave()
        if self.draining or hdrs.UPGRADE in request.headers:  # after which the parser loses what follows
            response.force_close()
        return response

    async def finish(self, timeout_s: float) -> None:
        """Wait until every request whose head is here has its answer, but not longer than that."""
        if self._in_flight:
            self._nothing_in_flight.clear()
            try:
                async with asyncio.timeout(timeout_s):
                    await self._nothing_in_flight.wait()
            except TimeoutError:
                log.warning("requests given up: %d", self._in_flight)

    def _leave(self) -> None:
        self._in_flight -= 1
        if not self._in_flight:
            self._nothing_in_flight.set()

    async def receive(self, request: web.BaseRequest, source: AnySource) -> web.StreamResponse:
        """A provider's callback, from its head to the reply. Raises Refused."""
        check_head(request, source.max_body_bytes)
        check_address(request, source, self._trusted_proxies)
        body = await read_body(request, source.max_body_bytes, self._settings.body_timeout_s)
        call, now_s = Request(body, request.headers, query_of(request)), self._clock()
        challenge = source.provider.challenge(call, source, now_s)
        if challenge is not None:
            return Accepted(challenge)
        source.provider.verify(call, source, now_s)
        envelope = _seal(call, source, now_s)
        await self._publisher.publish(envelope)
        return Accepted(source.provider.reply)

    def _source(self, path: str) -> AnySource:
        source = self._sources.get(path[len(_PREFIX) :])
        if source is None:
            raise UnknownSource("there is no such source here")
        return source

    def _health(self, path: str, request: web.BaseRequest) -> web.Response:
        match path:
            case "/healthz":
                status, ok = "ok", True
            case "/readyz" if self.draining:
                status, ok = "draining", False
            case "/readyz":
                status, ok = ("ready", True) if self._publisher.ready else ("not ready", False)
            case _:
                raise UnknownSource("there is nothing here")
        if request.body_exists:
            raise MalformedRequest("there is nothing to send here")
        return responses.health(status=status, ok=ok)


def _is_cancelled() -> bool:
    """Whether it is this very task that is to end, and not something that it awaited."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


def _seal(call: Request, source: AnySource, now_s: float) -> Envelope:
    """The envelope of a verified callback: once signed, it is kept even if nobody can read it."""
    provider = source.provider
    try:
        identity = provider.identify(call.body)
    except Unreadable as fault:
        log.warning("%s: a genuine callback cannot be read: %s", source.name, fault)
        identity = unreadable(call.body, now_s)
    content_type = call.headers.getall(hdrs.CONTENT_TYPE, ())
    return seal(
        identity,
        call.body,
        provider=provider.name,
        source=source.name,
        content_type=content_type[0] if content_type else "application/json",
        received_at=moment(now_s),
    )
