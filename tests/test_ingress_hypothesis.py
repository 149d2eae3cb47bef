"""Random changes of callbacks, and random bytes: the ingress publishes no event, and never answers 5xx."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hookline.schemas.provider import AnySource
from tests.ingress.callbacks import GOOD, post, sample, signed
from tests.ingress.http_client import let_ingress_run
from tests.ingress.running_ingress import RunningIngress, running_ingress
from tests.ingress.sources import CALLS, KRTC, NOW_S, SECRET, VOICE
from tests.vector_cases import with_secrets

COVERING = [KRTC, VOICE, CALLS]  # their signatures cover the body
often = settings(max_examples=80, deadline=None, derandomize=True, database=None)
each_source = pytest.mark.parametrize("source", COVERING, ids=lambda source: source.name)


def with_ingress(trial: Callable[[RunningIngress], Awaitable[None]]) -> None:
    """Run one trial in its own event loop, since Hypothesis calls synchronous functions."""

    async def run() -> None:
        async with running_ingress() as ingress:
            await trial(ingress)

    asyncio.run(run())


def check_refused(request: bytes) -> None:
    async def trial(ingress: RunningIngress) -> None:
        answer, _ = await ingress.ask(request)
        assert answer is not None
        assert answer.status in (400, 401)
        assert ingress.publisher.envelopes == []

    with_ingress(trial)


@dataclass(frozen=True)
class Edit:
    """One change: other bytes replace some at a place, which is counted modulo the length."""

    at: int
    removed: int
    inserted: bytes

    def of(self, text: bytes) -> bytes:
        at = self.at % (len(text) + 1)
        return text[:at] + self.inserted + text[at + self.removed :]


EDITS = st.builds(Edit, st.integers(0, 5000), st.integers(0, 3), st.binary(max_size=3))
PRINTABLE = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=3).map(str.encode)
HEADER_EDITS = st.builds(Edit, st.integers(0, 200), st.integers(0, 3), PRINTABLE)


@each_source
@given(edit=EDITS)
@example(edit=Edit(0, 0, b" "))
@example(edit=Edit(10**6, 0, b"\n"))
@often
def test_a_callback_with_a_changed_body_is_refused(source: AnySource, edit: Edit) -> None:
    call = signed(source)
    body = edit.of(call.body)
    if body != call.body:
        check_refused(post(source, replace(call, body=body)))


@each_source
@given(which=st.integers(0, 3), edit=HEADER_EDITS)
@often
def test_a_callback_with_a_changed_signed_header_is_refused(source: AnySource, which: int, edit: Edit) -> None:
    call = signed(source)
    name = sorted(call.headers)[which % len(call.headers)]
    before = call.headers[name]
    after = edit.of(before.encode()).decode()
    if after.lower() != before.lower():  # hexadecimal digits may have either case
        check_refused(post(source, replace(call, headers={**call.headers, name: after})))


@given(edit=HEADER_EDITS)
@often
def test_no_other_base64_text_passes_for_a_signature(edit: Edit) -> None:
    before = signed(VOICE).headers["Signature"]
    after = edit.of(before.encode()).decode()
    if after != before:
        check_refused(post(VOICE, headers={"Signature": after}))


@each_source
@given(edit=EDITS)
@often
def test_a_callback_signed_with_a_changed_secret_is_refused(source: AnySource, edit: Edit) -> None:
    secret = edit.of(SECRET.encode()).decode("latin-1")
    # HMAC pads a key with zeros, so trailing zeros make no other key.
    if secret.rstrip("\0") != SECRET:
        check_refused(post(source, signed(with_secrets(source, [secret]), sample(source))))


@given(off_s=st.integers(-(10**9), 10**9))
@often
def test_a_callback_with_a_changed_time_is_refused(off_s: int) -> None:
    call = signed(CALLS)
    time = f"{int(NOW_S * 1000) + off_s:013}"
    if off_s:
        check_refused(post(CALLS, replace(call, headers={**call.headers, "CurTime": time})))


FRAGMENTS = [
    b"POST ",
    b"GET ",
    b"PRI ",
    b"/hooks/krtc-main",
    b"/healthz",
    b"http://a/",
    b"*",
    b"?",
    b"#",
    b"%",
    b"//",
    b"[",
    b"]",
    b"@",
    b":",
    b" HTTP/1.1\r\n",
    b" HTTP/1.0\r\n",
    b" HTTP/0.9\r\n",
    b"Host: a\r\n",
    b"Host: [::1\r\n",
    b"Content-Length: 5\r\n",
    b"Content-Length: 0\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Content-Encoding: gzip\r\n",
    b"Expect: 100-continue\r\n",
    b"Connection: close\r\n",
    b"Connection: upgrade\r\nUpgrade: websocket\r\n",
    b"Sec-WebSocket-Key1: a\r\n",
    b"KRTC-Signature: \xff\r\n",
    b"\r\n",
    b"\r\n\r\n",
    b"5\r\nhello\r\n",
    b"0\r\n\r\n",
    b"\x00",
    b"\xff",
    b"\n",
    b"{}",
]
FORGERY = post(KRTC, signed(with_secrets(KRTC, ["another-secret"]), sample(KRTC)))
HOSTILE = st.lists(st.sampled_from(FRAGMENTS) | st.binary(max_size=8), max_size=20).map(b"".join)


def check_survives(*parts: bytes) -> None:
    """The ingress answers no 5xx to the parts, publishes nothing, and accepts the next callback."""

    async def trial(ingress: RunningIngress) -> None:
        faults: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))
        async with ingress.connect() as client:
            for part in parts:
                await client.send(part)
                await let_ingress_run()
            client.half_close()
            while (answer := await client.answer()) is not None:
                assert answer.status < 500
        assert ingress.publisher.envelopes == []
        taken, _ = await ingress.ask(GOOD)
        assert taken is not None
        assert taken.status == 200
        assert faults == []

    with_ingress(trial)


@given(hostile=HOSTILE)
@settings(often, max_examples=300)
def test_the_ingress_survives_arbitrary_bytes(hostile: bytes) -> None:
    check_survives(hostile)


@given(hostile=HOSTILE, at=st.integers(0, 200))
@often
def test_the_ingress_survives_arbitrary_bytes_in_two_parts(hostile: bytes, at: int) -> None:
    check_survives(hostile[:at], hostile[at:])


@given(edit=EDITS)
@example(edit=Edit(0, 0, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"))
@settings(often, max_examples=300)
def test_the_ingress_survives_a_changed_forgery(edit: Edit) -> None:
    check_survives(edit.of(FORGERY))


@given(target=st.lists(st.sampled_from(FRAGMENTS) | st.binary(max_size=3), max_size=6).map(b"".join))
@often
def test_the_ingress_survives_any_target(target: bytes) -> None:
    check_survives(b"POST " + target + b" HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
