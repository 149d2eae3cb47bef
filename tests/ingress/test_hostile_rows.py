"""Each row of hostile inputs, directly and through the proxies that we ship settings for.

A proxy may answer differently from the ingress, and may mend a flawed request before it forwards it. It must never make
the ingress accept a forgery or publish a part of a body.
"""

import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path

import pytest
import pytest_asyncio

from tests.ingress.callbacks import BODY, GOOD
from tests.ingress.hostile_cases import ALL_SOURCES, Case
from tests.ingress.hostile_rows import ROWS, SIGNATURES, Row
from tests.ingress.http_client import Answer, connected
from tests.ingress.proxies import PROXIES
from tests.ingress.running_ingress import RunningIngress, running_ingress, with_settings

TESTS = Path(__file__).parents[1]
SETTINGS = with_settings(body_timeout_s=4)  # 60,000 chunks take a second on a busy machine
SOON = {
    "haproxy": {"timeout http-request 10s": "timeout http-request 1s"},
    "nginx": {
        "client_header_timeout 10s": "client_header_timeout 1s",
        "client_body_timeout 10s": "client_body_timeout 1s",
    },
}
FORGED = {case.name for row in SIGNATURES for case in row.cases if not case.kept}

_LINE_ENDS = "a bare LF ends a line, too"
_IN_CHUNKS = {
    "a bare LF after a chunk's size": _LINE_ENDS,
    "a bare LF after a chunk": _LINE_ENDS,
    "a bare LF in the last chunk": _LINE_ENDS,
    "b'\\n' in a header": f"{_LINE_ENDS}, so this is another header",
}
MENDED: Mapping[str, Mapping[str, str]] = {
    "haproxy": {
        **_IN_CHUNKS,
        "two equal Hosts": "it joins them",
        "two equal lengths": "it joins them",
        "a length, then chunks": "it reads the chunks and drops the length, as RFC 9112 allows",
        "chunks, then a length": "it reads the chunks and drops the length, as RFC 9112 allows",
        "a folded header": "it unfolds the header",
        "the version b'HTTP/3.9'": "it forwards HTTP/1.1",
        "the version b'HTTP/2.0'": "it forwards HTTP/1.1",
        "the version b'HTTP/1.2'": "it forwards HTTP/1.1",
    },
    "nginx": {
        **_IN_CHUNKS,
        "a malformed trailer": "it drops trailers",
        "a header without colon": "it drops malformed headers",
        "the target b'http://zebra.example/hooks/krtc-main' without a path": "it forwards the path alone",
        "the target b'http://ingress.example/hooks/krtc-main' without a path": "it forwards the path alone",
        "the version b'HTTP/1.2'": "it forwards HTTP/1.1",
        "the version b'HTTP/1.10'": "it forwards HTTP/1.1",
        "an unknown expectation": "it drops the header",
    },
}
"""Genuine callbacks that a proxy forwards without their flaw, and what it does to them."""


@dataclass(frozen=True)
class Site:
    """A running ingress, and the port at which clients reach it: its own, or that of a proxy."""

    ingress: RunningIngress
    port: int
    proxy: str

    async def outcome(self, case: Case) -> tuple[list[Answer], list[bytes]]:
        """The answers to a case, and the bodies that were published because of it."""
        published = self.ingress.publisher.envelopes
        published.clear()
        answers: list[Answer] = []
        async with connected(self.port) as client:
            await client.send(case.request)
            if case.half_closes:
                client.half_close()
            while len(answers) < max(1, len(case.statuses)):
                answer = await client.answer(to_head=case.request.startswith(b"HEAD"))
                if answer is None:
                    break
                answers.append(answer)
        bodies = [envelope.body for envelope in published]
        assert all(re.fullmatch(r"[a-z0-9_-]+(\.[a-z0-9_-]+)+", envelope.routing_key) for envelope in published)
        await self._check_still_serves()
        assert [envelope.body for envelope in published] == [*bodies, BODY, BODY]
        return answers, bodies

    async def _check_still_serves(self) -> None:
        """Two callbacks of another client, the second of which may use the proxy's connection of the case."""
        async with connected(self.port) as client:
            for _ in range(2):
                await client.send(GOOD)
                answer = await client.answer()
                assert answer is not None
                assert answer.status == 200


@pytest_asyncio.fixture(loop_scope="module", scope="module", params=["directly", *PROXIES])
async def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    if request.param == "directly":
        async with running_ingress(ALL_SOURCES, SETTINGS) as ingress:
            yield Site(ingress, ingress.port, "")
        return
    trusted = [ip_network("127.0.0.1/32")]
    folder = tmp_path_factory.mktemp(request.param)
    async with (
        running_ingress(ALL_SOURCES, SETTINGS, trusted) as ingress,
        PROXIES[request.param](folder, ingress.port, SOON[request.param]) as port,
    ):
        yield Site(ingress, port, request.param)


@pytest.mark.parametrize("row", [row for row in ROWS if row.cases], ids=str)
@pytest.mark.asyncio(loop_scope="module")
async def test_no_hostile_request_is_published_unless_it_is_genuine_and_whole(site: Site, row: Row) -> None:
    for case in row.cases:
        answers, bodies = await site.outcome(case)
        if site.proxy:
            check_through_proxy(case, site.proxy, answers, bodies)
        else:
            assert [answer.status for answer in answers] == list(case.statuses) or not case.statuses, case
            assert bodies == list(case.kept), case


def check_through_proxy(case: Case, proxy: str, answers: list[Answer], bodies: list[bytes]) -> None:
    statuses = [answer.status for answer in answers]
    assert 500 not in statuses, case
    if case.name in FORGED:
        assert bodies == [], case
        assert 200 not in statuses, case
    elif case.name in MENDED[proxy]:
        assert bodies == [BODY], case
    else:
        assert bodies == list(case.kept), (case, statuses)
        assert (200 in statuses) == bool(case.kept), case


def test_only_cases_that_exist_are_said_to_be_mended() -> None:
    names = {case.name for row in ROWS for case in row.cases}
    assert set().union(*MENDED.values()) <= names - FORGED


def test_every_row_has_cases_or_tests() -> None:
    assert [row.number for row in ROWS] == list(range(1, 107))
    assert [row for row in ROWS if not (row.cases or row.tests)] == []


@pytest.mark.parametrize("row", [row for row in ROWS if row.tests], ids=str)
def test_the_tests_that_a_row_names_exist(row: Row) -> None:
    for each in row.tests:
        path, _, name = each.partition("::")
        assert re.search(rf"^(async )?def {name}\(", (TESTS / path).read_text(), re.MULTILINE), each
