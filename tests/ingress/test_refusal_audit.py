"""What the ingress records of refused requests, how often, and that no secret is in it."""

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from hashlib import sha256
from ipaddress import ip_network
from typing import Any

import msgspec
import pytest
from multidict import CIMultiDict

from hookline.ingress import audit
from hookline.ingress.audit import BURST, RefusalAudit
from hookline.ingress.client_address import Network
from hookline.ingress.settings import AuditSettings, IngressSettings
from hookline.schemas.attribution import nearest_path
from hookline.schemas.errors import NotDurable
from hookline.schemas.form import form_fields
from hookline.schemas.observer import Observer
from hookline.schemas.provider import AnySource, Outgoing
from hookline.schemas.refusals import RefusedRequest
from tests.ingress.callbacks import BODY, GOOD, post, sample, signed
from tests.ingress.http_client import Answer
from tests.ingress.running_ingress import SETTINGS, RunningIngress, running_ingress, with_settings
from tests.ingress.sources import CALLS, KRTC, MEETINGS, NOW_S, OLD_SECRET, SECRET, SOURCES
from tests.vector_cases import is_form, with_secrets

every_source = pytest.mark.parametrize("source", SOURCES.values(), ids=lambda source: source.name)


class RecordingWriter:
    def __init__(self) -> None:
        self.requests: list[RefusedRequest] = []
        self.counts: Counter[tuple[str, str]] = Counter()
        self.counted = asyncio.Event()

    def put(self, request: RefusedRequest) -> None:
        self.requests.append(request)

    def count(self, counts: Mapping[tuple[str, str], int], at_s: float) -> None:
        assert at_s == pytest.approx(NOW_S, abs=10_000)
        self.counts.update(counts)
        self.counted.set()


class Audited:
    """A running ingress with an audit; time stands still for its budgets unless the test moves it."""

    def __init__(self, ingress: RunningIngress, writer: RecordingWriter, clock: list[float]) -> None:
        self.ingress = ingress
        self.writer = writer
        self._clock = clock

    def wait(self, seconds: float) -> None:
        self._clock[0] += seconds

    async def ask(self, request: bytes) -> Answer:
        answer, _ = await self.ingress.ask(request)
        assert answer is not None
        return answer

    async def record_of(self, request: bytes) -> RefusedRequest:
        """The record of a request that is refused."""
        before = len(self.writer.requests)
        answer = await self.ask(request)
        assert answer.status >= 400
        (record,) = self.writer.requests[before:]
        return record


@asynccontextmanager
async def audited(
    sources: Mapping[str, AnySource] = SOURCES,
    *,
    proxied: IngressSettings = SETTINGS,
    trusted: Sequence[Network] = (),
    **settings: Any,
) -> AsyncIterator[Audited]:
    writer, clock = RecordingWriter(), [0.0]
    recorder = RefusalAudit(writer, AuditSettings(**settings), monotonic=lambda: clock[0])
    async with running_ingress(sources, proxied, trusted, audit=recorder) as ingress:
        yield Audited(ingress, writer, clock)


def forged(source: AnySource) -> Outgoing:
    """A callback that somebody with another secret has signed."""
    return source.provider.sign(sample(source), with_secrets(source, ["the-secret-of-another"]), NOW_S)


def values_of(outgoing: Outgoing) -> Iterator[str]:
    yield from outgoing.headers.values()
    yield from (field.partition("=")[2] for field in outgoing.query.split("&"))


@every_source
async def test_a_forgery_is_recorded_with_what_failed(source: AnySource) -> None:
    call = forged(source)
    async with audited() as running:
        record = await running.record_of(post(source, call, add=["X-Forwarded-For: 198.51.100.7"]))
    assert (record.source, record.reason, record.status) == (source.name, "bad_signature", 401)
    assert re.search("(fits no secret|is none) of this source", record.detail)
    assert (record.method, record.path) == ("POST", f"/hooks/{source.name}")
    assert (record.peer, record.forwarded) == ("127.0.0.1", "198.51.100.7")
    assert (record.body_bytes, record.body_sha256) == (len(call.body), sha256(call.body).hexdigest())
    assert record.at_s == NOW_S
    assert record.body is None


@pytest.mark.parametrize("bodies", [False, True], ids=["without bodies", "with bodies"])
@every_source
async def test_no_record_holds_a_signature_or_a_secret(source: AnySource, *, bodies: bool) -> None:
    """Not even of a genuine callback that is too late: its signature could be tried elsewhere."""
    late, call = signed(source, at_s=NOW_S - 3600), forged(source)
    proofs = {*proof_of(source, late), *proof_of(source, call)}
    assert proofs
    async with audited(bodies=bodies) as running:
        for each in (late, call):
            headers = ["Authorization: Bearer token-of-somebody", "Cookie: session=token-of-somebody"]
            await running.ask(post(source, each, add=headers))
        kept = msgspec.json.encode(running.writer.requests).decode().lower()
    assert running.writer.requests
    for secret in (*proofs, "token-of-somebody", SECRET, OLD_SECRET):
        assert secret.lower() not in kept


def proof_of(source: AnySource, outgoing: Outgoing) -> set[str]:
    """The parts of a signed callback that another key changes: its signature, wherever it is."""
    other = source.provider.sign(sample(source), with_secrets(source, ["a-third-secret-of-another"]), NOW_S)
    same = {*values_of(other), *_fields_of(source, other)}
    ours = {*values_of(outgoing), *_fields_of(source, outgoing)}
    return {value for value in ours - same if len(value) > 16}


def _fields_of(source: AnySource, outgoing: Outgoing) -> set[str]:
    if is_form(source.provider):
        return {value for _, value in form_fields(outgoing.body)}
    return set(map(str, msgspec.json.decode(outgoing.body).values()))


async def test_a_late_callback_is_recorded_with_its_age() -> None:
    async with audited() as running:
        record = await running.record_of(post(CALLS, signed(CALLS, at_s=NOW_S - 3604)))
    assert record.reason == "stale_timestamp"
    assert record.detail == "the time stamp is 3,604 s old, and 300 s are allowed: is the clock right?"
    assert record.age_s == 3604


async def test_a_callback_from_the_future_is_recorded_with_its_lead() -> None:
    async with audited() as running:
        record = await running.record_of(post(CALLS, signed(CALLS, at_s=NOW_S + 301.6)))
    assert record.detail == "the time stamp is 302 s in the future, and 300 s are allowed: is the clock right?"


async def test_what_the_sender_is_told_does_not_say_by_how_much() -> None:
    async with audited() as running:
        answer = await running.ask(post(CALLS, signed(CALLS, at_s=NOW_S - 3604)))
    assert b"3,604" not in answer.body


async def test_a_changed_body_is_told_from_a_wrong_secret() -> None:
    good = signed(CALLS)
    async with audited() as running:
        changed = await running.record_of(post(CALLS, replace(good, body=good.body.replace(b"teacher", b"stealer"))))
        foreign = await running.record_of(post(CALLS, forged(CALLS)))
    assert changed.detail == "the body does not match its MD5: has something changed it on the way?"
    assert foreign.detail.startswith("CheckSum")


async def test_an_unknown_path_is_recorded_without_a_source() -> None:
    request = post(replace(KRTC, name="krtc-mian"), query="token=abcdefgh&flag")
    async with audited() as running:
        record = await running.record_of(request)
    assert (record.source, record.reason, record.path) == ("", "unknown_source", "/hooks/krtc-mian")
    assert record.query == "token=*** (8 characters)&*** (4 characters)"
    assert record.body_sha256 == ""
    assert record.body_bytes == len(BODY)


async def test_a_path_like_that_of_a_source_is_recorded_with_what_was_meant() -> None:
    async with audited() as running:
        near = await running.record_of(post(replace(KRTC, name="krtc-mian"), query="token=abcdefgh"))
        far = await running.record_of(post(replace(KRTC, name="0" * 600)))
    assert (near.hint, far.hint) == ("did you mean /hooks/krtc-main?", "")


@pytest.mark.parametrize(
    "path", ["/hooks/KRTC-Main", "/krtc-main", "/hooks/krtc-main/", "/api/v1/hooks/krtc_main", "//hooks/krtc-main"]
)
def test_the_source_is_recognised_by_the_end_of_a_path(path: str) -> None:
    names = ["trtc-main", "zoom-main", "krtc-main", "twilio-main"]
    assert nearest_path(path, names) == "did you mean /hooks/krtc-main?"


@every_source
async def test_a_callback_to_the_url_of_another_source_is_recorded_with_the_one_it_fits(source: AnySource) -> None:
    target, twin = (KRTC, source) if source is not KRTC else (CALLS, source)
    call = signed(twin)
    async with audited() as running:
        record = await running.record_of(post(replace(twin, name=target.name), call))
    assert record.source == target.name
    assert re.search(f"a secret of .*{source.name}.* fits", record.hint)


async def test_the_secret_of_another_account_is_recognised() -> None:
    other = with_secrets(replace(CALLS, name="calls-b"), ["the-secret-of-the-other"])
    async with audited({CALLS.name: CALLS, other.name: other}) as running:
        swapped = await running.record_of(post(CALLS, signed(other)))
        foreign = await running.record_of(post(CALLS, forged(CALLS)))
        late = await running.record_of(post(CALLS, signed(CALLS, at_s=NOW_S - 3604)))
    assert swapped.hint == "a secret of calls-b fits: is the URL or the secret that of another source?"
    assert (foreign.hint, late.hint) == ("", "")


async def test_secrets_that_were_exchanged_in_the_settings_are_recognised() -> None:
    """The provider signs rightly, and its secret stands at the source of another provider."""
    krtc, calls = with_secrets(KRTC, ["the-secret-of-calls"]), with_secrets(CALLS, ["the-secret-of-krtc"])
    async with audited({krtc.name: krtc, calls.name: calls}) as running:
        right = with_secrets(KRTC, ["the-secret-of-krtc"])
        record = await running.record_of(post(right, signed(right)))
    assert record.hint == f"a secret of {calls.name} fits: is the URL or the secret that of another source?"


async def test_a_hint_about_another_source_is_only_in_the_audit(caplog: pytest.LogCaptureFixture) -> None:
    other = with_secrets(replace(CALLS, name="calls-b"), ["the-secret-of-the-other"])
    async with audited({CALLS.name: CALLS, other.name: other}) as running:
        answer = await running.ask(post(CALLS, signed(other)))
        (record,) = running.writer.requests
    assert "calls-b" in record.hint
    assert "calls-b" not in caplog.text
    assert b"calls-b" not in answer.body


async def test_a_source_whose_provider_fails_on_the_request_of_another_changes_nothing() -> None:
    def fail(*_: object) -> None:
        raise KeyError("of the provider")

    broken = replace(KRTC, name="broken", provider=replace(KRTC.provider, verify=fail))
    async with audited({CALLS.name: CALLS, broken.name: broken}) as running:
        record = await running.record_of(post(CALLS, forged(CALLS)))
    assert (record.status, record.hint) == (401, "")


async def test_a_source_without_secrets_fits_nothing() -> None:
    unsigned = replace(SOURCES["vonage-main"], keys=(), account=_unsigned(SOURCES["vonage-main"]))
    async with audited({CALLS.name: CALLS, unsigned.name: unsigned}) as running:
        record = await running.record_of(post(CALLS, forged(CALLS)))
    assert record.hint == ""


def _unsigned(source: AnySource) -> Any:
    return msgspec.structs.replace(source.account, insecure_no_signature=True)


async def test_the_search_for_a_hint_has_a_budget_of_its_own() -> None:
    """A flood to many sources must not cost many times as much as the same flood to one."""
    others = {f"calls-{n}": replace(CALLS, name=f"calls-{n}") for n in range(BURST)}
    right = with_secrets(replace(CALLS, name="right"), ["the-secret-of-the-other"])
    async with audited({**others, right.name: right}) as running:
        for source in [*others.values()] * 2:
            await running.ask(post(source, replace(signed(right))))
        hints = Counter(bool(each.hint) for each in running.writer.requests)
    assert hints == {True: BURST, False: BURST}


async def test_a_request_is_kept_as_it_came_only_if_the_settings_say_so() -> None:
    request = post(CALLS, forged(CALLS), add=["X-Twice: 1", "X-Twice: \xe9"])
    async with audited(requests=True) as running:
        kept = await running.record_of(request)
        large = await running.record_of(post(CALLS, signed(CALLS, b'{"a":"' + b"x" * 70_000 + b'"}', at_s=NOW_S - 999)))
        unread = await running.record_of(post(replace(CALLS, name="unknown")))
    async with audited(bodies=True) as running:
        not_kept = await running.record_of(request)
    assert kept.exact == request
    assert (large.exact, unread.exact, not_kept.exact) == (None, None, None)


class Counting(Observer):
    def __init__(self) -> None:
        self.refusals: Counter[tuple[str, str]] = Counter()

    def refused(self, source: str, reason: str) -> None:
        self.refusals[source, reason] += 1


async def test_an_address_that_is_not_allowed_has_one_name_in_answer_record_and_metric() -> None:
    source, counting = replace(KRTC, allow_from=(ip_network("203.0.113.0/24"),)), Counting()
    async with audited({source.name: source}) as running:
        running.ingress.receiver.observer = counting
        record = await running.record_of(GOOD)
        assert (await running.ask(GOOD)).code == "bad_signature"
    assert (record.source, record.peer, record.reason) == (KRTC.name, "127.0.0.1", "refused_address")
    assert counting.refusals == {(KRTC.name, "refused_address"): 2}


async def test_what_a_flood_is_answered_is_said_counted_and_recorded(caplog: pytest.LogCaptureFixture) -> None:
    forgery, counting = post(CALLS, forged(CALLS)), Counting()
    async with audited(proxied=with_settings(max_unverified_per_10_s=2)) as running:
        running.ingress.receiver.observer = counting
        first = await running.record_of(forgery)
        await running.ask(forgery)
        last = await running.record_of(forgery)
        assert (await running.ask(forgery)).code == "too_many_requests"
    assert counting.refusals == {("calls", "bad_signature"): 2, ("calls", "too_many_requests"): 2}
    assert running.writer.counts == counting.refusals
    assert (last.reason, last.status, last.body_sha256) == ("too_many_requests", 429, first.body_sha256)
    assert last.detail == f"more than 2 requests in 10 s; {first.detail}"
    assert f"calls: refused: too_many_requests ({last.detail}): POST /hooks/calls from 127.0.0.1" in caplog.messages


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        pytest.param(b"\x00\x01 secret\r\n\r\n", 400, id="no HTTP"),
        pytest.param(GOOD.replace(b"Host:", b"X-Long: " + b"x" * 9000 + b"\r\nHost:"), 431, id="a header too long"),
        pytest.param(GOOD.replace(b"/hooks/", b"/hooks/" + b"x" * 9000), 414, id="a path too long"),
        pytest.param(GOOD.replace(b"HTTP/1.1", b"HTTP/3.9"), 400, id="another version"),
    ],
)
async def test_what_cannot_be_read_as_a_request_is_counted_and_recorded_with_its_sender(
    request_bytes: bytes, status: int
) -> None:
    async with audited(max_records=1) as running:
        record = await running.record_of(request_bytes)
        for _ in range(BURST + 5):
            await running.ask(request_bytes)
    assert (record.source, record.reason, record.status) == ("", "malformed_request", status)
    assert (record.peer, record.method, record.path, record.is_read) == ("127.0.0.1", "", "", False)
    assert len(running.writer.requests) == BURST
    assert running.writer.counts == {("", "malformed_request"): BURST + 6}
    assert b"secret" not in msgspec.json.encode(running.writer.requests)


async def test_a_fault_of_ours_is_recorded() -> None:
    async with audited() as running:
        running.ingress.publisher.fault = NotDurable("RabbitMQ is away")
        record = await running.record_of(GOOD)
    assert (record.reason, record.detail, record.status) == ("not_durable", "RabbitMQ is away", 503)


async def test_harmless_headers_and_parameters_are_readable_and_others_have_their_length() -> None:
    async with audited() as running:
        netease = await running.record_of(post(CALLS, forged(CALLS), add=["User-Agent: netease/1"]))
        roomkit = await running.record_of(post(MEETINGS, forged(MEETINGS)))
    headers = CIMultiDict(netease.headers)
    assert headers["User-Agent"] == "netease/1"
    assert headers["AppKey"] == "example-app-key"
    assert headers["CurTime"] == str(int(NOW_S * 1000))
    assert headers["CheckSum"] == "*** (40 characters)"
    assert roomkit.query == f"SdkAppid=1400000000&Sign=*** (64 characters)&RequestTime={int(NOW_S)}"


async def test_bodies_are_kept_if_the_settings_say_so() -> None:
    async with audited(bodies=True) as running:
        record = await running.record_of(post(KRTC, forged(KRTC)))
        classroom = await running.record_of(post(SOURCES["classroom"], forged(SOURCES["classroom"])))
    assert msgspec.json.decode(record.body or "") == msgspec.json.decode(BODY)
    assert msgspec.json.decode(classroom.body or "")["Signature"] == "***"


@pytest.mark.parametrize(
    "body", [b"not json", b"{" * 3000, b"\xff\xfe", b'{"a":' + b"[" * 30_000 + b"]" * 30_000 + b"}"], ids=range(4)
)
async def test_a_body_that_cannot_be_read_is_not_kept(body: bytes) -> None:
    async with audited(bodies=True) as running:
        record = await running.record_of(post(KRTC, replace(forged(KRTC), body=body)))
    assert record.body is None
    assert record.body_sha256 == sha256(body).hexdigest()


async def test_a_kept_body_is_cut_and_a_huge_one_is_not_read() -> None:
    async with audited(bodies=True, max_body_bytes=100) as running:
        cut = await running.record_of(post(KRTC, replace(forged(KRTC), body=b'{"a":"' + b"x" * 1000 + b'"}')))
        huge = await running.record_of(post(KRTC, replace(forged(KRTC), body=b'{"a":"' + b"x" * 70_000 + b'"}')))
    assert len(cut.body or "") == 100
    assert huge.body is None


async def test_text_of_a_sender_cannot_move_the_cursor_of_a_reader() -> None:
    request = post(replace(KRTC, name="unknown"), add=["User-Agent: a\x9b31m", "X-Forwarded-For: \xff"])
    async with audited() as running:
        record = await running.record_of(request)
    assert msgspec.json.encode(record).isascii()
    assert "\x9b" not in str(record)


async def test_a_record_is_small_whatever_the_request() -> None:
    headers = [f"X-{n}: {'y' * 300}" for n in range(30)] + [f"User-Agent: {'z' * 2000}"]
    async with audited() as running:
        record = await running.record_of(post(replace(KRTC, name="n" * 2000), add=headers, query="q=1&" * 200))
    assert len(msgspec.json.encode(record)) < 8_000


async def test_a_flood_is_counted_and_a_few_of_it_are_recorded() -> None:
    count = BURST * 3
    async with audited() as running:
        for _ in range(count):
            await running.ask(post(KRTC, forged(KRTC)))
        assert len(running.writer.requests) == BURST
    assert running.writer.counts == {(KRTC.name, "bad_signature"): count}


async def test_a_flood_hides_no_refusal_of_another_reason_or_source() -> None:
    async with audited() as running:
        for _ in range(BURST * 2):
            await running.ask(post(CALLS, forged(CALLS)))
        late = await running.record_of(post(CALLS, signed(CALLS, at_s=NOW_S - 3604)))
        other = await running.record_of(post(KRTC, forged(KRTC)))
    assert (late.reason, other.source) == ("stale_timestamp", KRTC.name)


async def test_after_a_flood_the_budget_grows_again() -> None:
    async with audited(max_per_s=0.5) as running:
        for _ in range(BURST * 2):
            await running.ask(post(KRTC, forged(KRTC)))
        running.wait(4)
        for _ in range(BURST):
            await running.ask(post(KRTC, forged(KRTC)))
        assert len(running.writer.requests) == BURST + 2


async def test_counts_are_handed_over_while_the_ingress_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "COUNTS_EVERY_S", 0.01)
    async with audited() as running, asyncio.timeout(30):
        await running.ask(post(KRTC, forged(KRTC)))
        await running.writer.counted.wait()


async def test_an_accepted_callback_leaves_no_trace() -> None:
    async with audited() as running:
        assert (await running.ask(GOOD)).status == 200
    assert (running.writer.requests, running.writer.counts) == ([], Counter())
