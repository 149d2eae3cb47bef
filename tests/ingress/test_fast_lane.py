"""The fast lane and the usual way give the same answers and events in the same order, however the bytes arrive."""

import asyncio
import gc
import re
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import pytest
import uvloop
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from hookline.ingress import fast_lane
from hookline.ingress.connection import IngressConnection
from hookline.ingress.fast_lane import FastLane
from hookline.schemas.envelope import Envelope
from hookline.schemas.errors import NotDurable
from hookline.schemas.observer import Observer
from tests.ingress.callbacks import BODY, GOOD, LENGTH, changed, post, sample, signed, with_header, with_line
from tests.ingress.chunks import END, WHOLE, in_chunks
from tests.ingress.framing_cases import FRAMING
from tests.ingress.head_cases import CODING, HEAD
from tests.ingress.http_client import Client, let_ingress_run
from tests.ingress.running_ingress import IMPATIENT, SETTINGS, RunningIngress, running_ingress, with_settings
from tests.ingress.signature_cases import FORGED
from tests.ingress.sources import CALLS, CLASSROOM, KRTC, MEETINGS, VOICE

USUAL_WAY = with_settings(fast_lane=False)
LARGE = post(VOICE, signed(VOICE, sample(VOICE).ljust(20_000)))
TOO_LARGE = post(VOICE, signed(VOICE, sample(VOICE).ljust(VOICE.max_body_bytes + 1)))
MEANINGLESS = {
    "keep-alive": with_header(b"Connection: keep-alive"),
    "an upgrade without a connection": with_header(b"Upgrade: websocket"),
    "a length of 30 digits": changed(LENGTH, b"Content-Length: %030d" % len(BODY)),
}
LAST = {
    "close": with_header(b"Connection: close"),
    "HTTP/1.0": changed(b"HTTP/1.1", b"HTTP/1.0"),
    "HTTP/1.0 without Host": changed(b"HTTP/1.1", b"HTTP/1.0").replace(b"Host: ingress.example\r\n", b""),
}
"""After the answer the connection is closed."""
KEPT_ALIVE = changed(b"HTTP/1.1", b"HTTP/1.0").replace(b"Host:", b"Connection: keep-alive\r\nHost:")
ORDINARY = [
    LARGE,
    *(
        post(source, signed(source, sample(source, number)))
        for source in (KRTC, CALLS, CLASSROOM, MEETINGS, VOICE)
        for number in (0, 1)
    ),
    *MEANINGLESS.values(),
    KEPT_ALIVE,
]
OTHERS = [
    with_header(b"Expect: 100-continue"),
    with_header(b"Upgrade: websocket", b"Connection: upgrade"),
    in_chunks(WHOLE, END),
    TOO_LARGE,
    b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n",
    with_line(b"GET /hooks/krtc-main HTTP/1.1"),
]
GENUINE = [*ORDINARY, *LAST.values(), *OTHERS]
TWICE_FRAMED = [
    with_header(b"Transfer-Encoding: " + coding)
    for coding in (b"", b"identity", b"chunked", b"gzip", b"gzip, chunked", b"chunked, gzip", b"zebra")
]
"""With a Content-Length, too."""
FLAWED = [case.request for case in (*FRAMING, *HEAD, *CODING, *FORGED) if len(case.request) < 4000]
STREAMS = st.lists(st.sampled_from(GENUINE) | st.sampled_from(FLAWED), min_size=1, max_size=4).map(b"".join)
DATE = re.compile(rb"\r\nDate: [^\r]*")
QUIET_S = (0.5, 2.0, 8.0)
"""After how long a connection is quiet. A machine that stalls looks quiet, too: then longer ones are tried."""
FEW = settings(deadline=None, derandomize=True, database=None, phases=[Phase.generate])
"""Settings of a test whose examples wait: to shrink one that fails would take minutes."""


async def exchange(ingress: RunningIngress, parts: Sequence[bytes], quiet_s: float = QUIET_S[0]) -> bytes:
    """Send the parts, one segment each, and return everything that is answered until the connection is quiet."""
    async with ingress.connect() as client:
        for part in parts:
            await client.send(part)
            await let_ingress_run()
        received = await client.rest(quiet_s)
    return DATE.sub(b"", received)


async def outcome(parts: Sequence[bytes], quiet_s: float = QUIET_S[0], *, lane: bool) -> tuple[bytes, list[bytes]]:
    late_s = 0.4 * quiet_s
    impatient = with_settings(fast_lane=lane, head_timeout_s=late_s, body_timeout_s=late_s, keepalive_timeout_s=30)
    async with running_ingress(settings=impatient) as ingress:
        answers = await exchange(ingress, parts, quiet_s)
        return answers, [envelope.body for envelope in ingress.publisher.envelopes]


async def compare(stream: bytes, cuts: list[int]) -> None:
    at = sorted({cut % len(stream) for cut in cuts} - {0})
    parts = [stream[start:end] for start, end in zip([0, *at], [*at, len(stream)], strict=True)]
    difference = ""
    for quiet_s in QUIET_S:
        fast, usual = await asyncio.gather(outcome(parts, quiet_s, lane=True), outcome(parts, quiet_s, lane=False))
        if fast == usual:
            return
        difference = f"{fast} on the fast lane, {usual} on the usual way, for {parts}"
    pytest.fail(difference)


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
@settings(FEW, max_examples=8)
@given(st.lists(st.tuples(STREAMS, st.lists(st.integers(1, 4000), max_size=5)), min_size=8, max_size=8))
def test_both_ways_answer_and_publish_the_same(
    new_loop: Callable[[], asyncio.AbstractEventLoop], clients: list[tuple[bytes, list[int]]]
) -> None:
    """Eight clients at a time, each with ingresses of its own: they mostly wait until nothing more is answered."""

    async def compare_all() -> None:
        await asyncio.gather(*(compare(stream, cuts) for stream, cuts in clients))

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(compare_all())


@settings(FEW, max_examples=6)
@given(
    st.lists(
        st.tuples(st.lists(st.sampled_from(ORDINARY), min_size=1, max_size=3), st.sampled_from(FLAWED)),
        min_size=8,
        max_size=8,
    )
)
def test_a_flawed_request_costs_no_answer_to_those_before_it_in_one_segment(
    clients: list[tuple[list[bytes], bytes]],
) -> None:
    """The answers and events are those of requests that arrive one by one, both ways."""

    async def compare_both(before: list[bytes], flawed: bytes) -> None:
        difference = ""
        for quiet_s in QUIET_S:
            ways = [outcome([*before, flawed], quiet_s, lane=True)]
            ways += [outcome([b"".join(before) + flawed], quiet_s, lane=lane) for lane in (True, False)]
            one_by_one, *joined = await asyncio.gather(*ways)
            if joined == [one_by_one, one_by_one]:
                assert one_by_one[0].count(b" 200 OK\r\n") == len(before)
                return
            difference = f"{joined} in one segment, {one_by_one} one by one, for {before} and {flawed!r}"
        pytest.fail(difference)

    async def compare_all() -> None:
        await asyncio.gather(*(compare_both(*each) for each in clients))

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(compare_all())


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether the fast lane took each request that it was offered."""
    found: list[bool] = []
    enter = FastLane._enter  # noqa: SLF001

    def noting(self: FastLane) -> list[Any]:
        before = list(self._offered)
        passages = enter(self)
        entered = {passage.connection for passage in passages}
        for connection in before[: len(before) - len(self._offered)]:  # one may be offered twice
            found.append(connection in entered)
            entered.discard(connection)
        return passages

    monkeypatch.setattr(FastLane, "_enter", noting)
    return found


USUAL = {source.name: post(source) for source in (KRTC, CALLS, CLASSROOM, MEETINGS, VOICE)}


@pytest.mark.parametrize("request_", [*USUAL.values(), LARGE], ids=[*USUAL, "large"])
async def test_an_ordinary_callback_takes_the_fast_lane(taken: list[bool], request_: bytes) -> None:
    async with running_ingress() as ingress, ingress.connect() as client:
        for _ in range(3):
            await client.send(request_)
            answer = await client.answer()
            assert answer is not None
            assert answer.status == 200
    assert taken.count(True) == 3  # a large one may arrive in two segments, and is offered with each of them


@pytest.mark.parametrize("request_", [*MEANINGLESS.values(), KEPT_ALIVE], ids=[*MEANINGLESS, "HTTP/1.0"])
async def test_a_request_that_keeps_the_connection_alive_changes_neither_way(
    taken: list[bool], request_: bytes
) -> None:
    answers = [await outcome([request_, GOOD], lane=lane) for lane in (True, False)]
    assert answers[0] == answers[1]
    assert (len(answers[0][1]), taken) == (2, [True, True])


@pytest.mark.parametrize("request_", LAST.values(), ids=LAST.keys())
@pytest.mark.parametrize("following", [b"", GOOD], ids=["alone", "followed"])
async def test_the_last_request_of_a_connection_takes_the_fast_lane(
    taken: list[bool], request_: bytes, following: bytes
) -> None:
    answers = [await outcome([request_, following], lane=lane) for lane in (True, False)]
    assert answers[0] == answers[1]
    assert (answers[0][0].count(b" 200 OK"), len(answers[0][1])) == (1, 1)
    assert taken[:1] == [True]


async def test_the_last_request_of_a_connection_closes_it_with_the_answer() -> None:
    for request_ in LAST.values():
        async with running_ingress() as ingress, ingress.connect() as client:
            await client.send(GOOD)
            assert await client.answer() is not None
            await client.send(request_)
            answer = await client.answer()
            assert answer is not None
            assert answer.status == 200
            assert await client.closed_within(5)


@pytest.mark.parametrize("request_", [*OTHERS, FORGED[0].request], ids=range(len(OTHERS) + 1))
async def test_any_other_request_takes_the_usual_way(taken: list[bool], request_: bytes) -> None:
    async with running_ingress() as ingress:
        await exchange(ingress, [request_])
    assert True not in taken


@pytest.mark.parametrize("request_", TWICE_FRAMED)
async def test_no_request_with_a_length_and_a_transfer_encoding_is_read(taken: list[bool], request_: bytes) -> None:
    """The fast lane relies on it: it looks for no Transfer-Encoding where there is a body without chunks."""
    answers = [await outcome([request_], lane=lane) for lane in (True, False)]
    assert answers[0] == answers[1]
    assert b" 400 Bad Request" in answers[0][0]
    assert (answers[0][1], True in taken) == ([], False)


async def test_what_arrives_behind_a_request_in_progress_takes_no_part_of_the_turns_of_others(
    taken: list[bool],
) -> None:
    async with running_ingress() as ingress, ingress.connect() as client:
        ingress.publisher.hold()
        await client.send(GOOD)
        await ingress.publisher.called.wait()
        (connection,) = ingress.server.connections
        for _ in range(3):
            connection.data_received(GOOD)
            await let_ingress_run()
        assert taken == [True]
        ingress.publisher.release()
        answers = [await client.answer() for _ in range(4)]
        assert [answer.status for answer in answers if answer] == [200] * 4


async def test_with_another_version_of_aiohttp_there_is_no_fast_lane(
    taken: list[bool], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(aiohttp, "__version__", "3.99.0")
    async with running_ingress() as ingress:
        answer, _ = await ingress.ask(GOOD)
    assert answer is not None
    assert (answer.status, taken) == (200, [])
    assert caplog.text.count("the fast lane does not fit aiohttp 3.99.0: all requests take the usual way") == 1


async def answers_of(*requests: bytes, lane: bool, fault: BaseException) -> list[bytes]:
    async with running_ingress(settings=SETTINGS if lane else USUAL_WAY) as ingress, ingress.connect() as client:
        ingress.publisher.fault = fault
        await client.send(b"".join(requests))
        answers = [await client.answer() for _ in requests]
        return [DATE.sub(b"", answer.raw) if answer else b"" for answer in answers]


@pytest.mark.parametrize("fault", [NotDurable("no"), RuntimeError("odd"), asyncio.CancelledError()], ids=repr)
@pytest.mark.parametrize(
    "requests",
    [[GOOD, GOOD], [KEPT_ALIVE, GOOD], [LAST["close"]], [LAST["HTTP/1.0"]]],
    ids=["two", "kept alive", "close", "HTTP/1.0"],
)
async def test_an_event_that_is_not_durable_is_answered_by_the_usual_way(
    fault: BaseException, requests: list[bytes]
) -> None:
    fast = await answers_of(*requests, lane=True, fault=fault)
    assert fast == await answers_of(*requests, lane=False, fault=fault)
    assert all(b" 503 Service Unavailable\r\n" in answer for answer in fast)


async def test_a_target_that_aiohttp_cannot_read_costs_the_others_of_its_turn_no_answer() -> None:
    unreadable = with_line(b"POST http://xn--a/hooks/krtc-main HTTP/1.1")
    async with running_ingress() as ingress, ingress.connect() as first, ingress.connect() as second:
        await first.send(unreadable)
        await second.send(GOOD)
        answers = [await first.answer(), await second.answer()]
        assert [answer.status for answer in answers if answer] == [400, 200]


async def test_answers_come_in_the_order_of_the_requests() -> None:
    async with running_ingress() as ingress, ingress.connect() as client:
        ingress.publisher.hold()
        await client.send(GOOD + FORGED[0].request)
        await ingress.publisher.called.wait()
        await let_ingress_run()
        ingress.publisher.release()
        answers = [await client.answer() for _ in range(2)]
        assert [answer.status for answer in answers if answer] == [200, 401]


async def test_a_client_that_leaves_costs_no_event_and_no_task() -> None:
    async with running_ingress() as ingress:
        before = len(asyncio.all_tasks())
        async with ingress.connect() as client:
            ingress.publisher.hold()
            await client.send(GOOD)
            await ingress.publisher.called.wait()
        ingress.publisher.release()
        await ingress.publisher.kept.wait()
        async with asyncio.timeout(10):
            while ingress.server.connections:  # noqa: ASYNC110  a closed connection gives no signal
                await asyncio.sleep(0.01)
        await let_ingress_run()
        assert len(asyncio.all_tasks()) == before


async def test_a_stop_waits_for_the_confirm_and_closes_with_the_answer() -> None:
    async with running_ingress() as ingress, ingress.connect() as client:
        ingress.publisher.hold()
        await client.send(GOOD)
        await ingress.publisher.called.wait()
        stopping = asyncio.create_task(ingress.server.stop())
        await let_ingress_run()
        assert not stopping.done()
        ingress.publisher.release()
        answer = await client.answer()
        assert answer is not None
        assert (answer.status, answer.closes) == (200, True)
        assert await client.is_closed()
        await stopping


async def answered(client: Client) -> int:
    await client.send(GOOD)
    answer = await client.answer()
    assert answer is not None
    return answer.status


async def test_an_idle_connection_is_closed_and_one_in_flight_is_not() -> None:
    async with running_ingress(settings=with_settings(keepalive_timeout_s=0.3)) as ingress, ingress.connect() as client:
        assert await answered(client) == 200
        ingress.publisher.hold()
        await client.send(GOOD)
        await asyncio.sleep(0.9)
        ingress.publisher.release()
        answer = await client.answer()
        assert answer is not None
        assert answer.status == 200
        assert await client.closed_within(5)


async def test_a_slow_next_head_is_timed_after_a_fast_answer() -> None:
    async with running_ingress(settings=IMPATIENT) as ingress, ingress.connect() as client:
        assert await answered(client) == 200
        await client.send(GOOD[:20])
        assert await client.closed_within(10)


async def only_connection(ingress: RunningIngress) -> IngressConnection:
    async with asyncio.timeout(10):
        while not ingress.server.connections:  # noqa: ASYNC110  a new connection gives no signal
            await asyncio.sleep(0.01)
    (connection,) = ingress.server.connections
    assert isinstance(connection, IngressConnection)
    await let_ingress_run()
    return connection


async def test_callbacks_of_one_turn_are_published_by_source_and_within_a_source_in_their_order() -> None:
    bodies = [(source, signed(source, sample(source, number))) for number in (0, 1, 2) for source in (VOICE, KRTC)]
    async with running_ingress() as ingress, AsyncExitStack() as clients:
        for _ in bodies:
            await clients.enter_async_context(ingress.connect())
        async with asyncio.timeout(10):
            while len(ingress.server.connections) < len(bodies):  # noqa: ASYNC110  a new connection gives no signal
                await asyncio.sleep(0.01)
        await let_ingress_run()
        for connection, (source, outgoing) in zip(ingress.server.connections, bodies, strict=True):
            assert isinstance(connection, IngressConnection)
            connection.data_received(post(source, outgoing))
        await let_ingress_run()
        expected = [outgoing.body for each in (KRTC, VOICE) for source, outgoing in bodies if source is each]
        assert [envelope.body for envelope in ingress.publisher.envelopes] == expected


async def test_a_connection_that_waits_for_another_callback_holds_nothing_of_the_last() -> None:
    async with running_ingress() as ingress, ingress.connect() as client:
        connection = await only_connection(ingress)
        assert await client.send_until_answered([GOOD]) is not None
        await let_ingress_run()
        assert connection._body.total_bytes == 0  # noqa: SLF001


async def test_a_client_that_leaves_in_the_turn_that_reads_its_callback_leaves_no_task() -> None:
    async with running_ingress() as ingress, ingress.connect():
        connection = await only_connection(ingress)
        before = len(asyncio.all_tasks())
        connection.data_received(GOOD)
        connection.connection_lost(None)
        await let_ingress_run()
        assert len(asyncio.all_tasks()) == before - 1
        assert ingress.publisher.envelopes == []


async def test_what_was_read_is_answered_though_the_connection_counts_as_idle_in_the_same_turn() -> None:
    async with running_ingress() as ingress, ingress.connect() as client:
        connection = await only_connection(ingress)
        connection.data_received(GOOD)
        assert connection.idle_since_s is None
        connection._next_keepalive_close_time = 0.0  # noqa: SLF001  its timer fires now
        connection._process_keepalive()  # noqa: SLF001
        answer = await client.answer()
        assert answer is not None
        assert answer.status == 200


@pytest.mark.parametrize(
    "request_", [FORGED[0].request, GOOD, LARGE, TOO_LARGE], ids=["forged", "good", "large", "too large"]
)
async def test_a_client_that_leaves_in_the_turn_that_begins_its_callback_leaves_nothing(
    request_: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with running_ingress(settings=with_settings(shutdown_s=0.2)) as ingress, ingress.connect():
        connection = await only_connection(ingress)
        before = len(asyncio.all_tasks())
        connection.data_received(request_)
        asyncio.get_running_loop().call_soon(connection.connection_lost, None)
        await let_ingress_run()
        gc.collect()  # of a task that failed, this logs the error
        assert len(asyncio.all_tasks()) == before - 1
        assert connection.load.held_bytes == 0
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == []
    assert "abandoned" not in caplog.text


@pytest.mark.parametrize("lane", [True, False], ids=["fast lane", "usual way"])
@pytest.mark.parametrize("turns", range(8), ids="{} turns later".format)
async def test_a_client_that_leaves_within_a_callback_behind_another_is_no_error(
    *, turns: int, lane: bool, caplog: pytest.LogCaptureFixture
) -> None:
    impatient = with_settings(fast_lane=lane, shutdown_s=0.2)
    async with running_ingress(settings=impatient) as ingress, ingress.connect():
        connection = await only_connection(ingress)
        ingress.publisher.hold()
        connection.data_received(GOOD + GOOD[:-1])
        await let_ingress_run()
        ingress.publisher.release()
        await ingress.publisher.kept.wait()
        for _ in range(turns):
            await asyncio.sleep(0)
        connection.connection_lost(None)
        await let_ingress_run()
        assert connection.load.held_bytes == 0
        assert len(ingress.publisher.envelopes) == 1
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == []
    assert "abandoned" not in caplog.text


@pytest.mark.parametrize(
    ("request_", "at_once_bytes", "begun_after_turns"),
    [
        pytest.param(GOOD, 2 * (fast_lane._REQUEST_BYTES + len(GOOD)), [0, 2, 4, 5], id="two at a time"),  # noqa: SLF001
        pytest.param(LARGE, len(LARGE), [0, 1, 2, 3], id="large ones cost as much as very many small ones"),
    ],
)
async def test_a_crowd_takes_several_turns(
    taken: list[bool],
    monkeypatch: pytest.MonkeyPatch,
    request_: bytes,
    at_once_bytes: int,
    begun_after_turns: list[int],
) -> None:
    """What else is due, such as a confirm or a health check, has its turn in between."""
    monkeypatch.setattr(fast_lane, "_AT_ONCE_BYTES", at_once_bytes)
    begun = [0]
    async with running_ingress() as ingress, AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(ingress.connect()) for _ in range(begun_after_turns[-1])]
        await let_ingress_run()
        for connection in ingress.server.connections:
            assert isinstance(connection, IngressConnection)
            connection.data_received(request_)
        while begun[-1] < len(clients):
            await asyncio.sleep(0)
            begun.append(len(taken))
        assert begun == begun_after_turns
        answers = [await client.answer() for client in clients]
        assert [answer.status for answer in answers if answer] == [200] * len(clients)


class FailingObserver(Observer):
    def accepted(self, envelope: Envelope, durable_s: float, answer_s: float) -> None:
        raise ZeroDivisionError(envelope.id, durable_s, answer_s)


async def answers_in_one_turn(*clients: Client) -> list[int]:
    for client in clients:
        await client.send(GOOD)
    answers = [await client.answer() for client in clients]
    return [answer.status if answer else 0 for answer in answers]


async def test_a_failing_observer_leaves_no_request_without_an_answer(caplog: pytest.LogCaptureFixture) -> None:
    """The usual way answers 503, too: the event may come twice."""
    async with running_ingress(settings=with_settings(shutdown_s=0.2)) as ingress:
        ingress.receiver.observer = FailingObserver()
        async with ingress.connect() as first, ingress.connect() as second:
            assert await answers_in_one_turn(first, second) == [503, 503]
    assert "abandoned" not in caplog.text


@pytest.mark.parametrize("name", ["leave_usual_way", "answer"])
async def test_a_connection_that_fails_costs_the_others_of_its_turn_no_answer(
    name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whether it fails before its event is published, or when it is answered, it is closed."""
    usual, failed = getattr(IngressConnection, name), list[IngressConnection]()

    def first_fails(self: IngressConnection, *given: Any, **named: Any) -> object:
        failed.append(self)
        return 1 / 0 if len(failed) == 1 else usual(self, *given, **named)

    monkeypatch.setattr(IngressConnection, name, first_fails)
    impatient = with_settings(shutdown_s=0.2)
    async with running_ingress(settings=impatient) as ingress, ingress.connect() as first, ingress.connect() as second:
        assert sorted(await answers_in_one_turn(first, second)) == [0, 200]
    assert "abandoned" not in caplog.text
