"""What the ingress refuses, over real sockets: no event, no 2xx, nothing that helps a forger."""

from contextlib import AbstractAsyncContextManager

import pytest

from tests.ingress.framing_rows import FRAMING
from tests.ingress.head_rows import CODING, HEAD
from tests.ingress.house import BODY_LIMITED, SECRET, SETTINGS, House, opened
from tests.ingress.proof_rows import FORGED
from tests.ingress.rows import ECHO, Row
from tests.ingress.wire import Answer

OTHERWISE = (
    "10: ",  # the first part is judged alone, as a body that does not fit its signature
    "11: ",  # what follows the head is another request
    "19: a trailer of 9 kB",  # whoever reads a body is not told what the parser did not like: 400
)
LATER = [row for row in FRAMING if not row.name.startswith(OTHERWISE)]


def opened_for(row: Row) -> AbstractAsyncContextManager[House]:
    return opened(settings=BODY_LIMITED if row.code == "slow_request" else SETTINGS)


def check(house: House, row: Row, answer: Answer | None, *, closed: bool) -> None:
    assert answer is not None
    assert answer.status == row.status
    assert answer.code == row.code
    assert closed == row.closes
    assert house.publisher.envelopes == []
    assert answer.headers["server"] == "hookline"
    assert ECHO.encode() not in answer.raw
    assert SECRET.encode() not in answer.raw


@pytest.mark.parametrize("row", [*FRAMING, *HEAD, *CODING, *FORGED], ids=str)
async def test_a_flawed_callback_is_refused_and_never_published(row: Row) -> None:
    async with opened_for(row) as house:
        answer, closed = await house.ask(row.request)
        check(house, row, answer, closed=closed)


@pytest.mark.parametrize("row", LATER, ids=str)
async def test_a_flaw_that_comes_after_the_head_is_refused_likewise(row: Row) -> None:
    async with opened_for(row) as house:
        head, blank, body = row.request.partition(b"\r\n\r\n")
        answer, closed = await house.ask(head + blank, body[:40], body[40:])
        check(house, row, answer, closed=closed)


@pytest.mark.parametrize("row", [row for row in FRAMING if len(row.request) < 1000], ids=str)
async def test_a_flaw_that_comes_byte_by_byte_is_never_published(row: Row) -> None:
    async with opened_for(row) as house:
        answer, closed = await house.ask(*(bytes([byte]) for byte in row.request))
        assert answer is not None
        assert 400 <= answer.status < 500
        assert closed or answer.code == "bad_signature"
        assert house.publisher.envelopes == []
