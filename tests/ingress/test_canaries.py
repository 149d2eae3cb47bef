"""Unique secrets, tokens, signatures and bodies, sent through the whole ingress: nothing repeats them."""

import asyncio
import logging
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from hookline.audit.writer import SqliteRefusalWriter
from hookline.ingress.audit import RefusalAudit
from hookline.ingress.settings import AuditSettings
from hookline.schemas.provider import AnySource, Outgoing
from tests.ingress.callbacks import post, sample, signed
from tests.ingress.hostile_rows import ROWS
from tests.ingress.running_ingress import RunningIngress, running_ingress, with_settings
from tests.ingress.sources import NOW_S, SECRET, SOURCES
from tests.vector_cases import is_form, with_secrets

OURS, FORGERS = "canary-secret-of-ours-1f83", "canary-secret-of-a-forger-77c0"
BODY = "canary-in-the-body-5be1"
TOKEN = "canary-token-90d2"
CANARIES = {source.name: with_secrets(source, [OURS]) for source in SOURCES.values()}
SETTINGS = with_settings(body_timeout_s=0.05, head_timeout_s=30)
KEPT_FOR_S = 100 * 365 * 24 * 3600.0


def marked(source: AnySource) -> bytes:
    """A sample callback with the canary in a field that nobody reads, as JSON even where it is sent as a form."""
    return msgspec.json.encode({**msgspec.json.decode(sample(source)), "canary": BODY})


def calls(source: AnySource) -> Iterator[tuple[Outgoing, set[str]]]:
    """Genuine, late, forged and unreadable callbacks, each with its signature."""
    bodies = [marked(source)] if is_form(source.provider) else [marked(source), marked(source)[:-1] + b',"a":1,"a":1}']
    forger, third = with_secrets(source, [FORGERS]), with_secrets(source, ["a-third-secret-of-nobody"])
    for body in bodies:
        for signer, at_s in ((source, NOW_S), (source, NOW_S - 3600), (forger, NOW_S)):
            call = signed(signer, body, at_s=at_s)
            yield call, values(call) - values(signed(third, body, at_s=at_s))


def values(call: Outgoing) -> set[str]:
    """Every value in a callback's headers, query and body."""
    query = {field.partition("=")[2] for field in call.query.split("&")}
    return {*call.headers.values(), *query, *re.findall(r'"([0-9a-fA-F]{20,})"', call.body.decode())}


def requests(source: AnySource, call: Outgoing) -> Iterator[bytes]:
    tokens = [f"Authorization: Bearer {TOKEN}", f"Cookie: s={TOKEN}", f"X-Api-Key: {TOKEN}", f"X-{TOKEN[:6]}: {TOKEN}"]
    whole = post(source, call, add=tokens)
    yield whole
    yield post(source, call, query=f"{call.query}&token={TOKEN}&{TOKEN}")
    yield post(replace(source, name="unknown"), call, add=tokens, query=f"token={TOKEN}")
    yield whole.replace(b"POST", b"PUT", 1)
    yield whole.replace(b"HTTP/1.1", b"HTTP/1.1 " + TOKEN.encode(), 1)
    yield whole.replace(b"Host:", b"Host\x00:", 1)
    yield whole.replace(b"Content-Type:", b"Content-Encoding: gzip\r\nContent-Type:", 1)
    yield whole[:-1]


async def answered(ingress: RunningIngress, request: bytes) -> bytes:
    answer, _ = await ingress.ask(request)
    return answer.raw if answer else b""


async def send_calls(ingress: RunningIngress, source: AnySource) -> tuple[bytes, set[str]]:
    """The answers to all callbacks of a source, and their signatures."""
    answers, secret = b"", set[str]()
    for number, (call, proof) in enumerate(calls(source)):
        assert proof
        secret |= proof
        for request in [*requests(source, call)][: None if number == 0 else -1]:  # a cut one waits a second
            answers += await answered(ingress, request)
    return answers, secret


async def send_all(ingress: RunningIngress) -> tuple[bytes, set[str]]:
    """All answers, and every text that must not be repeated."""
    sent = await asyncio.gather(*(send_calls(ingress, source) for source in CANARIES.values()))
    ingress.publisher.fault = RuntimeError("the publisher fails")
    failed = [await answered(ingress, post(source, signed(source, marked(source)))) for source in CANARIES.values()]
    return b"".join([answers for answers, _ in sent] + failed), {OURS, FORGERS, BODY, TOKEN}.union(
        *(secret for _, secret in sent)
    )


def content(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.iterdir())


@pytest.mark.parametrize("bodies", [False, True], ids=["without bodies", "with bodies"])
async def test_no_canary_is_in_answers_logs_or_the_record_of_refused_requests(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, *, bodies: bool
) -> None:
    caplog.set_level(logging.DEBUG)
    kept = AuditSettings(bodies=bodies, max_age_s=KEPT_FOR_S)
    writer = SqliteRefusalWriter(tmp_path / "refused.db", kept)
    async with running_ingress(CANARIES, SETTINGS, audit=RefusalAudit(writer, kept)) as ingress:
        answers, secret = await send_all(ingress)
    await writer.close()
    record, log = content(tmp_path), caplog.text
    assert b"bad_signature" in record
    assert "refused: bad_signature" in log
    for text in secret:
        assert text.encode() not in answers
        assert text not in log
        assert text.encode() not in record or (bodies and text == BODY)


async def test_no_hostile_request_makes_the_ingress_say_its_secrets(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    kept = AuditSettings(bodies=True, max_age_s=KEPT_FOR_S)
    writer = SqliteRefusalWriter(tmp_path / "refused.db", kept)
    hostile = [row.cases[0].request for row in ROWS if row.cases and not row.cases[0].half_closes]
    async with running_ingress(settings=SETTINGS, audit=RefusalAudit(writer, kept)) as ingress:
        answers = await asyncio.gather(*(answered(ingress, request) for request in hostile))
    await writer.close()
    assert SECRET.encode() not in b"".join(answers) + content(tmp_path) + caplog.text.encode()


def test_no_canary_is_in_what_python_shows_of_a_source() -> None:
    for source in CANARIES.values():
        assert OURS not in f"{source!r} {source} {source.keys[0]!r} {source.keys[0]} {source.keys!r}"
