"""What the ingress records of refused requests, how often, and that no secret is in it."""

import asyncio
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
from hookline.schemas.errors import NotDurable
from hookline.schemas.provider import AnySource, Outgoing
from hookline.schemas.refusals import RefusedRequest
from tests.ingress.callbacks import BODY, GOOD, post, sample, signed
from tests.ingress.http_client import Answer
from tests.ingress.running_ingress import SETTINGS, RunningIngress, running_ingress
from tests.ingress.sources import CALLS, KRTC, MEETINGS, NOW_S, OLD_SECRET, SECRET, SOURCES

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
    other = replace(source, keys=(source.provider.key("the-secret-of-another"),))
    return source.provider.sign(sample(source), other, NOW_S)


def values_of(outgoing: Outgoing) -> Iterator[str]:
    yield from outgoing.headers.values()
    yield from (field.partition("=")[2] for field in outgoing.query.split("&"))


@every_source
async def test_a_forgery_is_recorded_with_what_failed(source: AnySource) -> None:
    call = forged(source)
    async with audited() as running:
        record = await running.record_of(post(source, call, add=["X-Forwarded-For: 198.51.100.7"]))
    assert (record.source, record.reason, record.status) == (source.name, "bad_signature", 401)
    assert "is not what any of 2 secrets gives" in record.detail
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
    other = forged(replace(source, keys=(source.provider.key("a-third-secret-of-another"),)))
    same = set(values_of(other)) | set(map(str, msgspec.json.decode(other.body).values()))
    ours = set(values_of(outgoing)) | set(map(str, msgspec.json.decode(outgoing.body).values()))
    return {value for value in ours - same if len(value) > 16}


async def test_a_late_callback_is_recorded_with_its_age() -> None:
    async with audited() as running:
        record = await running.record_of(post(CALLS, signed(CALLS, at_s=NOW_S - 3604)))
    assert record.reason == "stale_timestamp"
    assert record.detail == "the time stamp is 3,604 s old, and 300 s are allowed"


async def test_a_callback_from_the_future_is_recorded_with_its_lead() -> None:
    async with audited() as running:
        record = await running.record_of(post(CALLS, signed(CALLS, at_s=NOW_S + 301.6)))
    assert record.detail == "the time stamp is 302 s in the future, and 300 s are allowed"


async def test_what_the_sender_is_told_does_not_say_by_how_much() -> None:
    async with audited() as running:
        answer = await running.ask(post(CALLS, signed(CALLS, at_s=NOW_S - 3604)))
    assert b"3,604" not in answer.body


async def test_a_changed_body_is_told_from_a_wrong_secret() -> None:
    good = signed(CALLS)
    async with audited() as running:
        changed = await running.record_of(post(CALLS, replace(good, body=good.body.replace(b"teacher", b"stealer"))))
        foreign = await running.record_of(post(CALLS, forged(CALLS)))
    assert changed.detail.startswith("MD5 (of the body)")
    assert foreign.detail.startswith("CheckSum")


async def test_an_unknown_path_is_recorded_without_a_source() -> None:
    request = post(replace(KRTC, name="krtc-mian"), query="token=abcdefgh&flag")
    async with audited() as running:
        record = await running.record_of(request)
    assert (record.source, record.reason, record.path) == ("", "unknown_source", "/hooks/krtc-mian")
    assert record.query == "token=*** (8 characters)&*** (4 characters)"
    assert record.body_sha256 == ""
    assert record.body_bytes == len(BODY)


async def test_a_refused_address_is_recorded() -> None:
    source = replace(KRTC, allow_from=(ip_network("203.0.113.0/24"),))
    async with audited({source.name: source}) as running:
        record = await running.record_of(GOOD)
    assert (record.source, record.peer) == (KRTC.name, "127.0.0.1")


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
    "body", [b"not json", b"{" * 3000, b"\xff\xfe", b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}"], ids=range(4)
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
