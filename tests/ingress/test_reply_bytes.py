"""The bytes of a provider's reply, which the ingress encodes itself."""

import re
import time
from email.utils import parsedate_to_datetime

import pytest
from aiohttp import web

from hookline.ingress import receive
from hookline.schemas.provider import AnySource, Reply
from tests.ingress.callbacks import post
from tests.ingress.http_client import Answer
from tests.ingress.running_ingress import RunningIngress, running_ingress
from tests.ingress.sources import KRTC, SOURCES

CLOSE, KEEP = "Connection: close", "Connection: keep-alive"


def aiohttps(reply: Reply) -> web.Response:
    headers = {"Server": "hookline"}
    return web.Response(body=reply.body, status=reply.status, content_type=reply.content_type, headers=headers)


async def first_answer(ingress: RunningIngress, request: bytes) -> Answer:
    async with ingress.connect() as client:
        await client.send(request)
        answer = await client.answer()
        assert answer is not None
        return answer


def undated(answer: Answer) -> bytes:
    undated, count = re.subn(rb"\r\nDate: [^\r]+", b"", answer.raw)
    assert count == 1
    return undated


@pytest.mark.parametrize("version", [b"HTTP/1.1", b"HTTP/1.0"], ids=bytes.decode)
@pytest.mark.parametrize("connection", [[], [CLOSE], [KEEP]], ids=["no connection header", CLOSE, KEEP])
@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
async def test_a_reply_has_the_bytes_that_aiohttp_would_send(
    monkeypatch: pytest.MonkeyPatch, source: AnySource, connection: list[str], version: bytes
) -> None:
    request = post(source, add=connection).replace(b"HTTP/1.1", version)
    async with running_ingress() as ingress:
        ours = await first_answer(ingress, request)
        monkeypatch.setattr(receive, "Accepted", aiohttps)
        theirs = await first_answer(ingress, request)
    assert undated(ours) == undated(theirs)


async def test_a_reply_carries_the_date() -> None:
    async with running_ingress() as ingress:
        before_s = int(time.time())
        answer = await first_answer(ingress, post(KRTC))
        assert before_s <= parsedate_to_datetime(answer.headers["date"]).timestamp() <= time.time()


@pytest.mark.parametrize("version", [b"HTTP/1.1", b"HTTP/1.0"], ids=bytes.decode)
async def test_a_connection_that_is_kept_serves_again(version: bytes) -> None:
    request = post(KRTC, add=[KEEP]).replace(b"HTTP/1.1", version)
    async with running_ingress() as ingress, ingress.connect() as client:
        for _ in range(3):
            await client.send(request)
            answer = await client.answer()
            assert answer is not None
            assert answer.status == 200
