"""What the ingress refuses, over real sockets: no event, no 2xx, nothing that helps a forger."""

import pytest

from hookline.ingress.settings import IngressSettings
from tests.ingress.framing_cases import FRAMING
from tests.ingress.head_cases import CODING, HEAD
from tests.ingress.http_client import Answer
from tests.ingress.refusals import ECHO, Refusal
from tests.ingress.running_ingress import IMPATIENT, SETTINGS, RunningIngress, running_ingress
from tests.ingress.signature_cases import FORGED
from tests.ingress.sources import SECRET


def settings_for(refusal: Refusal) -> IngressSettings:
    return IMPATIENT if refusal.code == "slow_request" else SETTINGS


def check(ingress: RunningIngress, refusal: Refusal, answer: Answer | None, *, closed: bool) -> None:
    assert answer is not None
    assert answer.status == refusal.status
    assert answer.code == refusal.code
    assert closed == refusal.closes
    assert ingress.publisher.envelopes == []
    assert answer.headers["server"] == "hookline"
    assert ECHO.encode() not in answer.raw
    assert SECRET.encode() not in answer.raw


@pytest.mark.parametrize("refusal", [*FRAMING, *HEAD, *CODING, *FORGED], ids=str)
async def test_a_flawed_callback_is_refused_and_never_published(refusal: Refusal) -> None:
    async with running_ingress(settings=settings_for(refusal)) as ingress:
        answer, closed = await ingress.ask(refusal.request)
        check(ingress, refusal, answer, closed=closed)


@pytest.mark.parametrize("refusal", FRAMING, ids=str)
async def test_a_flaw_that_arrives_after_the_head_is_refused_in_the_same_way(refusal: Refusal) -> None:
    async with running_ingress(settings=settings_for(refusal)) as ingress:
        head, blank, body = refusal.request.partition(b"\r\n\r\n")
        answer, closed = await ingress.ask(head + blank, body[:40], body[40:])
        check(ingress, refusal, answer, closed=closed)


@pytest.mark.parametrize("refusal", [refusal for refusal in FRAMING if len(refusal.request) < 1000], ids=str)
async def test_a_flaw_that_arrives_byte_by_byte_is_never_published(refusal: Refusal) -> None:
    async with running_ingress(settings=IMPATIENT) as ingress:
        answer, closed = await ingress.ask(*(bytes([byte]) for byte in refusal.request))
        assert answer is not None
        assert 400 <= answer.status < 500
        assert closed or answer.code == "bad_signature"
        assert ingress.publisher.envelopes == []
