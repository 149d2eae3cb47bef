"""From an HTTP request to the effect of a worker and the room view, through real processes."""

import json
import re
from typing import Any

import aiohttp
import pytest
from yarl import URL

from hookline.cli.sample_callbacks import Callback, callbacks_of, send_callback
from hookline.schemas.provider import AnySource, Outgoing
from hookline.schemas.providers import catalogue
from tests.end_to_end.processes import Project, eventually, until

SECRET = re.compile(r'(?m)^secrets = \["(.+)"\]')
EVERY = sum(len(provider.samples) for provider in catalogue().values())
KNOWN = EVERY - sum(
    provider.types[sample.type] == "unknown" for provider in catalogue().values() for sample in provider.samples
)


def send_all(project: Project, *options: str) -> list[dict[str, Any]]:
    answers = []
    for source in project.settings.sources:
        done = project.call("send", source, "--json", *options)
        assert done.returncode == 0, done.stdout + done.stderr
        answers += [json.loads(line) for line in done.stdout.splitlines()]
    return answers


def test_every_event_of_every_provider_is_handled_once_however_often_it_is_sent(project: Project) -> None:
    run = project.start("run", "counter.py")
    answers = send_all(project, "--duplicate", "--shuffle")
    assert {answer["status"] for answer in answers} == {200}
    assert len(answers) == 2 * EVERY
    until(lambda: len(set(project.handled())) >= EVERY)
    assert run.stop() == 0
    assert len(project.handled()) == EVERY


def test_the_room_view_shows_the_rooms_of_every_provider(project: Project) -> None:
    run = project.start("run")
    send_all(project)
    until(lambda: handled_by_rooms(run.lines) >= KNOWN)
    latest = project.call("rooms", "--limit", "1", "--json")
    assert len(json.loads(latest.stdout)) == 1
    assert latest.stderr == "The latest 1 are shown; --limit shows more.\n"
    rooms = {room["provider"]: room for room in project.rooms()}
    run.stop()
    assert set(rooms) == {name for name, provider in catalogue().items() if set(provider.types.values()) != {"unknown"}}
    assert [session["user_id"] for session in rooms["krtc"]["sessions"]] == ["teacher", "student"]
    assert [session["role"] for session in rooms["krtc"]["sessions"]] == ["host", "audience"]
    assert {room["provider"] for room in rooms.values() if room["ended_at"]} >= {"cloudroom", "krtc", "zoom"}
    assert [recording["state"] for recording in rooms["gme"]["recordings"]] == ["uploaded"]
    assert [recording["state"] for recording in rooms["cloudroom"]["recordings"]] == ["completed"]


def handled_by_rooms(lines: list[dict[str, Any]]) -> int:
    return sum(1 for line in lines if line.get("queue") == "rooms" and line.get("outcome") == "handled")


@pytest.fixture
async def session() -> Any:
    async with aiohttp.ClientSession() as opened:
        yield opened


def signed(source: AnySource) -> Callback:
    return next(iter(callbacks_of(source, source.provider.samples, 1)))


@pytest.mark.parametrize("name", ["krtc-main", "calls", "voice"])
async def test_a_tampered_callback_is_refused_and_reaches_no_queue(
    embedded_project: Project, session: aiohttp.ClientSession, name: str
) -> None:
    run = embedded_project.start("run", "counter.py")
    source = embedded_project.settings.sources[name]
    callback = signed(source)
    outgoing = source.provider.sign(callback.body, source, callback.at_s)
    body = outgoing.body.replace(b"demo", b"dema")
    assert body != outgoing.body
    async with session.post(embedded_project.url(name), data=body, headers=outgoing.headers) as answer:
        assert answer.status == 401
        assert (await answer.json())["error"]["code"] == "bad_signature"
    good = await send_callback(session, embedded_project.url(name), source, callback)
    assert good.status == 200
    await eventually(lambda: len(embedded_project.handled()) >= 1)
    run.stop()
    assert len(embedded_project.handled()) == 1


async def test_a_genuine_callback_of_unknown_type_is_kept_not_refused(
    project: Project, session: aiohttp.ClientSession
) -> None:
    ingress = project.start("ingress")
    source = project.settings.sources["krtc-main"]
    body = b'{"noticeId":"1","productId":1,"eventType":999,"notifyMs":1,"payload":{"what":"is \xe8\xbf\x99"}}'
    project.start("worker", "counter.py")  # its queue must exist first
    answer = await send_callback(session, project.url("krtc-main"), source, Callback("odd", body, 0))
    assert answer.status == 200
    await eventually(lambda: len(project.handled()) == 1)
    assert "Unknown" in project.counted.read_text()
    ingress.stop()


async def test_an_event_that_no_worker_wants_is_logged_as_unrouted(
    embedded_project: Project, session: aiohttp.ClientSession
) -> None:
    ingress = embedded_project.start("ingress")
    source = embedded_project.settings.sources["krtc-main"]
    answer = await send_callback(session, embedded_project.url("krtc-main"), source, signed(source))
    assert answer.status == 200
    await eventually(lambda: ingress.count("hookline.unrouted") > 0)


async def test_ids_beyond_double_precision_and_of_every_script_stay_exact(
    embedded_project: Project, session: aiohttp.ClientSession
) -> None:
    run = embedded_project.start("run")
    source = embedded_project.settings.sources["classroom"]
    at_s = signed(source).at_s
    body = '{ "Details" : {"UID":"学生😀", "RoomId" :9007199254740993,"more":[1]}, "EventType":"ROOM_JOIN"}'.encode()
    assert (
        await send_callback(session, embedded_project.url("classroom"), source, Callback("", body, at_s))
    ).status == 200
    await eventually(lambda: handled_by_rooms(run.lines) == 1)
    (room,) = embedded_project.rooms()
    assert room["room_id"] == "9007199254740993"
    assert [session["user_id"] for session in room["inside"]] == ["学生😀"]
    run.stop()


def test_two_worker_processes_share_a_queue_and_handle_each_event_once(project: Project) -> None:
    project.start("ingress")
    workers = [project.start("worker", "counter.py") for _ in range(2)]
    # Shuffled: otherwise one process could get all events and the other all duplicates.
    done = project.call("send", "krtc-main", "--count", "300", "--duplicate", "--shuffle")
    assert done.returncode == 0, done.stderr
    until(lambda: len(set(project.handled())) >= 300)
    assert [worker.stop() for worker in workers] == [0, 0]
    assert len(project.handled()) == len(set(project.handled())) == 300
    assert len({line.split()[2] for line in project.counted.read_text().splitlines()}) == 2


async def test_no_secret_signature_or_free_text_is_in_any_output(
    embedded_project: Project, session: aiohttp.ClientSession
) -> None:
    run = embedded_project.start("run", "counter.py")
    private: set[str] = set()
    answers: list[str] = []
    sources = embedded_project.settings.sources
    for source in sources.values():
        callback = signed(source)
        outgoing = source.provider.sign(callback.body, source, callback.at_s)
        private |= (
            {key.decode("utf-8", "replace") for key in source.keys}
            | set(SECRET.findall(embedded_project.config.read_text()))
            | signatures(outgoing)
        )
        for body in (outgoing.body, outgoing.body + b" ", b"[" + outgoing.body):
            url = URL(f"{embedded_project.url(source.name)}?{outgoing.query}", encoded=True)
            async with session.post(url, data=body, headers=outgoing.headers) as answer:
                answers.append(await answer.text())
    await eventually(lambda: len(set(embedded_project.handled())) >= len(sources))
    run.stop()
    assert len(private) >= 2 * len(sources)
    assert [text for text in private if any(text in line for line in (*run.output, *answers))] == []


def signatures(outgoing: Outgoing) -> set[str]:
    """All parts of a callback that look like a digest, in hexadecimal or base64."""
    text = " ".join([*outgoing.headers.values(), outgoing.query, outgoing.body.decode()])
    return set(re.findall(r"\b[0-9a-f]{32,}\b|[A-Za-z0-9+/]{27}=", text))


def test_at_the_end_the_log_says_how_the_deliveries_of_each_queue_ended(embedded_project: Project) -> None:
    run = embedded_project.start("run")
    samples = len(catalogue()["krtc"].samples)
    assert embedded_project.call("send", "krtc-main", "--duplicate").returncode == 0
    until(lambda: sum(1 for line in run.lines if line.get("queue") == "rooms") == 2 * samples)
    run.stop()
    assert f"rooms: {samples} handled, {samples} duplicate" in [line["message"] for line in run.lines]
