"""The steps of the ingress for one request at rest: what fits, what fails, and by how much."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import msgspec

from hookline.diagnosis.captured import CapturedRequest
from hookline.ingress.client_address import Network, check_address
from hookline.ingress.request import check_head
from hookline.schemas.attribution import fitting_sources, is_genuine, misplaced, nearest_path, with_hints
from hookline.schemas.envelope import moment, seal
from hookline.schemas.errors import Refused, StaleTimestamp, Unreadable
from hookline.schemas.provider import AnySource, Reply, Request

Result: TypeAlias = Literal["fits", "fails", "unknown"]

_MUCH_LATER_S = 1e9


class Step(msgspec.Struct, frozen=True):
    """One step: whether the request fits, and what a person should know. `reason` is that of a failure."""

    step: str
    result: Result
    text: str
    reason: str = ""


class Diagnosis(msgspec.Struct, frozen=True):
    """What the ingress would do with a request. `accepted` is None where that cannot be told."""

    source: str
    accepted: bool | None
    reason: str
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What the steps need beside the request: the sources, the proxies, the time, and who connected ("" if unknown)."""

    sources: Mapping[str, AnySource]
    trusted_proxies: Sequence[Network]
    now_s: float
    peer: str = ""


def diagnose(request: CapturedRequest, source: AnySource, around: Circumstances) -> Diagnosis:
    """All steps of the request at this source, also those after one that fails."""
    return concluded(source.name, [*steps_of_head(request, source, around), *_steps_of_proof(request, source, around)])


def concluded(source: str, steps: Sequence[Step]) -> Diagnosis:
    """What follows from the steps: a failure refuses, and without a known signature nothing can be said."""
    failed = next((each for each in steps if each.result == "fails"), None)
    if failed is not None:
        return Diagnosis(source=source, accepted=False, reason=failed.reason, steps=tuple(steps))
    is_proven = all(each.result == "fits" for each in steps if each.step in ("signature", "time"))
    return Diagnosis(source=source, accepted=True if is_proven else None, reason="", steps=tuple(steps))


def steps_of_head(request: CapturedRequest, source: AnySource, around: Circumstances) -> Iterator[Step]:
    """What can be said without body and signature."""
    yield path_step(request.path, source.name, around.sources)
    yield _head(request, source)
    if source.allow_from:
        yield _address(request, source, around)


def path_step(path: str, name: str, names: Iterable[str]) -> Step:
    """Whether a path is that of this source, or of any if the name is empty."""
    known = {f"/hooks/{each}": each for each in names}
    if known.get(path) == name:
        return Step("path", "fits", f"{path} is that of the source")
    if path in known:
        return Step("path", "fails", f"{path} is that of the source {known[path]}", "unknown_source")
    if path.startswith("/hooks/") or not name:
        text = with_hints(f"no source has {path}", nearest_path(path, names))
        return Step("path", "fails", text, "unknown_source")
    return Step("path", "unknown", f"{path} is none of the ingress: does a proxy turn it into /hooks/{name}?")


def _head(request: CapturedRequest, source: AnySource) -> Step:
    try:
        check_head(request, source.max_body_bytes)
    except Refused as refusal:
        return _failed("head", refusal)
    length = request.content_length
    size = "an unknown size" if length is None else f"{length:,} bytes"
    return Step("head", "fits", f"{request.method}, {size} of at most {source.max_body_bytes:,}")


def _address(request: CapturedRequest, source: AnySource, around: Circumstances) -> Step:
    if not around.peer:
        text = "allow_from is set, and a file does not say who called; --from ADDRESS checks one"
        return Step("address", "unknown", text)
    try:
        check_address(around.peer, request.headers, source.allow_from, around.trusted_proxies)
    except Refused as refusal:
        return _failed("address", refusal)
    return Step("address", "fits", f"{around.peer} is allowed")


def _steps_of_proof(request: CapturedRequest, source: AnySource, around: Circumstances) -> Iterator[Step]:
    yield _body(request, source)
    callback = Request(request.body, request.headers, request.query)
    try:
        checked = _prove(callback, source, around.now_s)
    except StaleTimestamp as refusal:
        yield Step("signature", "fits", _fitting_secret(callback, source, around.now_s))
        yield _failed("time", refusal)
        return
    except Refused as refusal:
        yield _unproven(callback, source, around, refusal)
        yield Step("time", "unknown", "it is checked once the signature fits")
        return
    if checked is not None:
        yield Step("signature", "fits", f"it is the provider's check of the URL, which is answered {checked.status}")
        return
    yield Step("signature", "fits", _fitting_secret(callback, source, around.now_s))
    yield Step("time", "fits", _age(callback, source, around.now_s))
    yield _event(callback, request, source, around.now_s)


def _body(request: CapturedRequest, source: AnySource) -> Step:
    announced, size = request.content_length, len(request.body)
    if announced is not None and size != announced:
        text = f"{size:,} bytes, and Content-Length says {announced:,}: was all of it captured?"
        return Step("body", "fails", text, "malformed_request")
    if size > source.max_body_bytes:
        text = f"{size:,} bytes, and {source.max_body_bytes:,} are allowed (max_body_bytes)"
        return Step("body", "fails", text, "body_too_large")
    digest = hashlib.sha256(request.body).hexdigest()
    return Step("body", "fits", "; ".join([f"{size:,} bytes, SHA-256 {digest[:16]}…", *request.notes]))


def _prove(callback: Request, source: AnySource, now_s: float) -> Reply | None:
    """The reply to a check of the URL, or None for a genuine callback. Raises Refused."""
    challenge = source.provider.challenge
    checked = None if challenge is None else challenge(callback, source, now_s)
    if checked is None:
        source.provider.verify(callback, source, now_s)
    return checked


def _fitting_secret(callback: Request, source: AnySource, now_s: float) -> str:
    """Which of the secrets fits, and what the signature covers."""
    alone = [replace(source, keys=(key,)) for key in source.keys]
    fitting = [str(number) for number, each in enumerate(alone, 1) if is_genuine(callback, each, now_s)]
    if not fitting:
        return "there is no secret, so only the address proves the sender"
    covered = f"; it covers {source.provider.covers}" if source.provider.covers else ""
    return f"secret {' and '.join(fitting)} of {len(source.keys)} fits{covered}"


def _unproven(callback: Request, source: AnySource, around: Circumstances, refusal: Refused) -> Step:
    """A signature that fails, with whatever makes it fit."""
    others = fitting_sources(callback, source, around.sources.values(), around.now_s)
    text = with_hints(refusal.for_operator, misplaced(others), _fitting_body(callback, source, around.now_s))
    return Step("signature", "fails", text, refusal.reason_for_operator)


def _fitting_body(callback: Request, source: AnySource, now_s: float) -> str:
    """How the body was changed on the way, if one of the usual changes explains it."""
    for change, body in _unchanged(callback.body):
        if body != callback.body and is_genuine(msgspec.structs.replace(callback, body=body), source, now_s):
            return f"it fits the body {change}: what captured or passed on the request has changed it"
    return ""


def _unchanged(body: bytes) -> Iterator[tuple[str, bytes]]:
    """What the body may have been, with how it differs."""
    yield "without the line end", body.rstrip(b"\r\n")
    yield "with LF for CRLF", body.replace(b"\r\n", b"\n")
    yield "with CRLF for LF", body.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    try:
        content = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        return
    yield "as JSON without blanks", msgspec.json.encode(content)


def _age(callback: Request, source: AnySource, now_s: float) -> str:
    """How old a fresh time stamp is: what is said of it at a much later time tells."""
    try:
        source.provider.verify(callback, source, now_s + _MUCH_LATER_S)
    except StaleTimestamp as late:
        age = "fresh" if late.age_s is None else _old(late.age_s - _MUCH_LATER_S)
        return f"{age}, and {source.tolerance_s} s are allowed"
    except Refused:
        pass
    return "no time stamp is checked"


def _old(age_s: float) -> str:
    return f"{age_s:,.0f} s old" if age_s >= 0 else f"{-age_s:,.0f} s in the future"


def _event(callback: Request, request: CapturedRequest, source: AnySource, now_s: float) -> Step:
    provider = source.provider
    kept = provider.keep_query(callback.query) if provider.keep_query else ""
    try:
        identity = provider.identify(msgspec.structs.replace(callback, query=kept) if kept else callback)
        envelope = seal(
            identity,
            request.body,
            provider=provider.name,
            source=source.name,
            content_type=provider.content_type,
            received_at=moment(now_s),
            query=kept,
        )
        events = len(provider.normalise(envelope))
    except Unreadable as fault:
        return Step("event", "fits", f"it is genuine and kept, and cannot be read: {fault}")
    of = f" of {envelope.subject}" if envelope.subject else ""
    number = "" if events == 1 else f", {events} events"
    return Step("event", "fits", f"{envelope.topic}{of} ({envelope.id}){number}")


def _failed(step: str, refusal: Refused) -> Step:
    return Step(step, "fails", refusal.for_operator, refusal.reason_for_operator)
