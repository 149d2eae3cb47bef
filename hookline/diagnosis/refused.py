"""Tries a refused request of the audit again, with the present settings."""

from collections.abc import Mapping

from aiohttp import HttpVersion11
from multidict import CIMultiDict, CIMultiDictProxy

from hookline.diagnosis.captured import CapturedRequest, read_request
from hookline.diagnosis.steps import Circumstances, Diagnosis, Step, concluded, diagnose, path_step, steps_of_head
from hookline.schemas.attribution import with_hints
from hookline.schemas.errors import MissingSignature, Refused
from hookline.schemas.provider import AnySource, Request
from hookline.schemas.refusals import RefusedRequest

_NOT_KEPT = "the audit keeps no signature and no body; `requests = true` under [audit] keeps those of the next ones"
_UNVERIFIED = ("bad_signature", "missing_signature", "too_many_requests")


def source_now(record: RefusedRequest, sources: Mapping[str, AnySource]) -> AnySource | None:
    """The source whose path the request has by the present settings."""
    return sources.get(record.path.removeprefix("/hooks/")) if record.path.startswith("/hooks/") else None


def diagnose_refused(record: RefusedRequest, source: AnySource | None, around: Circumstances) -> Diagnosis:
    """The steps of a recorded request, as far as what was kept of it tells."""
    if not record.is_read:
        step = Step("head", "unknown", f"at the receipt: {record.detail}; nothing else is known of it")
        return Diagnosis(source="", accepted=None, reason="", steps=(step,))
    if source is None:
        return concluded("", [path_step(record.path, "", around.sources)])
    if record.exact is not None:
        return diagnose(read_request(record.exact), source, around)
    request = _head_of(record)
    return concluded(source.name, [*steps_of_head(request, source, around), *_kept_proof(record, request, source)])


def _head_of(record: RefusedRequest) -> CapturedRequest:
    headers = CIMultiDictProxy(CIMultiDict(record.headers))
    return CapturedRequest(record.method, record.path, HttpVersion11, headers, b"")


def _kept_proof(record: RefusedRequest, request: CapturedRequest, source: AnySource) -> list[Step]:
    """What was found at the receipt, and whether it still holds."""
    if record.reason == "stale_timestamp":
        return [Step("signature", "fits", "it fitted at the receipt"), _time(record, source)]
    still_missing = _missing(record, request, source) if record.reason == MissingSignature.reason else ""
    if still_missing:
        return [Step("signature", "fails", still_missing, record.reason)]
    if record.reason not in _UNVERIFIED:
        return [Step("signature", "unknown", _NOT_KEPT)]
    text = with_hints(f"at the receipt: {record.detail}", record.hint, _NOT_KEPT)
    return [Step("signature", "unknown", text)]


def _missing(record: RefusedRequest, request: CapturedRequest, source: AnySource) -> str:
    """What a signature still lacks: the names of headers and parameters are kept."""
    try:
        source.provider.verify(Request(b"", request.headers, record.query), source, record.at_s)
    except MissingSignature as refusal:
        return refusal.for_operator
    except Refused:
        pass
    return ""


def _time(record: RefusedRequest, source: AnySource) -> Step:
    if record.age_s is None:
        return Step("time", "unknown", record.detail)
    is_early = record.age_s < 0
    age = f"{abs(record.age_s):,.0f} s {'in the future' if is_early else 'old'} at the receipt"
    if abs(record.age_s) <= source.tolerance_s:
        return Step("time", "fits", f"it was {age}, and {source.tolerance_s} s are allowed now")
    text = f"it was {age}, and {source.tolerance_s} s are allowed: is the clock right?"
    return Step("time", "fails", text, "stale_timestamp")
