"""The inspector's pages: what they show, and that nothing that a sender chooses becomes more than text."""

import asyncio
import threading
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import aiohttp
import msgspec
import pytest

from hookline.admin.inspector import live, pages
from hookline.admin.inspector.asked import PAGE
from hookline.admin.inspector.shown import PERSONAL, without_text
from hookline.events import (
    EVENT_TYPES,
    CanonicalEvent,
    ParticipantJoined,
    ParticipantLeft,
    RecordingStarted,
    RoomCreated,
    RoomUpdated,
)
from hookline.schemas.broker import Parked
from tests.admin.inspected import Site, inspected, json_of
from tests.audit.refused_requests import refused
from tests.contract.installations import envelope, eventually
from tests.events import START, make

BODIES = "[inspector]\nbodies = true\n"
HOSTILE = (
    "\"'><script>alert(1)</script><img src=x onerror=alert(2)>{{7*7}}</pre></textarea>javascript:alert(3)\u202e\x1b[31m"
)
ROOM = "/room?provider=krtc&source=krtc-main&id=lesson"
PAGES = ["/", "/events", "/rooms", "/queues", "/refused", "/sources", "/live", "/login", "/nothing"]
ELEMENTS = {
    *("html", "head", "meta", "title", "link", "script", "body", "a", "header", "strong", "nav", "form", "input"),
    *("button", "main", "h1", "h2", "h3", "footer", "code", "p", "ul", "li", "table", "thead", "tbody", "tr", "th"),
    *("td", "time", "span", "label", "datalist", "option", "dl", "dt", "dd", "pre", "details", "summary", "article"),
    *("em", "noscript"),
}


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with inspected(tmp_path) as site:
        yield site


def joined(number: int, **fields: Any) -> CanonicalEvent:
    given = {"room_id": "lesson", "user_id": f"user-{number}", "id": f"event-{number:04}", **fields}
    return make(ParticipantJoined, at_s=number, **given)


async def pages_of(site: Site) -> list[str]:
    """Every page, and each page that one of them links to, with its query."""
    found = [*PAGES]
    for path in found:
        for link in (await site.get(path)).page.links():
            if link.startswith("/") and link not in found and len(found) < 200:
                found.append(link)
    return found


async def fill_with_hostile_texts(site: Site) -> None:
    texts: dict[str, Any] = {"room_id": HOSTILE, "user_id": HOSTILE, "display_name": HOSTILE, "platform": HOSTILE}
    await site.append(
        make(ParticipantJoined, f"1{HOSTILE}", provider_type=HOSTILE, **texts),
        make(RoomUpdated, f"2{HOSTILE}", room_id=HOSTILE, name=HOSTILE, changes={HOSTILE: [HOSTILE]}),
        make(RecordingStarted, f"3{HOSTILE}", room_id=HOSTILE, task_id=HOSTILE, file_name=HOSTILE, error=HOSTILE),
    )
    parked = Parked("failed", f'Traceback\n  File "{HOSTILE}", line 1, in x\nValueError: {HOSTILE}', 3)
    body = msgspec.json.encode({"eventType": HOSTILE})
    await site.park("billing", envelope(body=body, subject=HOSTILE), parked)
    await site.refuse(refused(path=HOSTILE, detail=HOSTILE, headers=((HOSTILE, HOSTILE),), body=HOSTILE, query=HOSTILE))


@pytest.mark.parametrize("text", ["", BODIES], ids=["without bodies", "with bodies"])
async def test_hostile_text_stays_text_on_every_page(tmp_path: Path, text: str) -> None:
    async with inspected(tmp_path, text) as site:
        await fill_with_hostile_texts(site)
        pages = await pages_of(site)
        kinds = {urlsplit(page).path for page in pages}
        assert {"/room", "/event", "/dead", "/refusal"} <= kinds
        for path in [*pages, f"/events?room={HOSTILE}&topic={HOSTILE}", f"/login?to={HOSTILE}", f"/{HOSTILE}"]:
            answer = await site.get(path)
            assert answer.status in (200, 400, 404)
            seen = answer.page
            assert {tag for tag, _ in seen.elements} <= ELEMENTS
            assert "\u202e" not in answer.text
            assert "\x1b" not in answer.text
            for tag, attributes in seen.elements:
                assert not [name for name in attributes if name.startswith("on") or name in ("style", "srcdoc")]
                assert all(
                    attributes[name].startswith(("/", "#")) for name in ("href", "src", "action") if name in attributes
                ), (path, tag, attributes)
                if tag == "script":
                    assert attributes == {"src": "/static/inspector.js", "defer": ""}
        shown = (await site.get("/rooms")).page.text
        assert "<script>alert(1)</script>" in shown
        assert "\\u202e\\u001b[31m" in shown


async def test_every_answer_keeps_foreign_pages_and_scripts_away(site: Site) -> None:
    for path in [*PAGES, "/api/queues", "/static/inspector.css", "/static/inspector.js"]:
        headers = (await site.get(path)).headers
        policy = dict(each.strip().split(" ", 1) for each in headers["Content-Security-Policy"].split(";"))
        assert policy["default-src"] == policy["base-uri"] == policy["frame-ancestors"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == policy["form-action"] == "'self'"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cache-Control"] == "no-store"
        assert "Set-Cookie" not in headers


async def test_no_page_names_another_host(site: Site) -> None:
    await site.append(joined(1))
    for path in await pages_of(site):
        for _, attributes in (await site.get(path)).page.elements:
            assert not [value for value in attributes.values() if value.startswith(("http:", "https:", "//"))]
    for name in ("css", "js"):
        assert "//" not in (await site.get(f"/static/inspector.{name}")).text.replace("// ", "")


async def test_a_search_finds_events_page_by_page(site: Site) -> None:
    await site.append(*(joined(number) for number in range(PAGE + 7)), make(RoomCreated, "other", room_id="other"))
    seen, path = [], "/api/events?room=lesson"
    while path:
        page = json_of(await site.get(path))
        seen += [event["id"] for event in page["events"]]
        assert len(page["events"]) <= PAGE
        path = f"/api/events?{page['next']}" if page["next"] else ""
    assert seen == [f"event-{number:04}" for number in reversed(range(PAGE + 7))]
    html = await site.get("/events", room="lesson", user="user-3")
    assert "user-3" in html.page.text
    assert "user-4" not in html.page.text
    ids = [event["id"] for event in json_of(await site.get("/api/events", until=START.isoformat()))["events"]]
    assert ids == []


@pytest.mark.parametrize(
    ("path", "status", "text"),
    [
        ("/events?topic=room.craeted", 400, "there is no topic"),
        ("/events?since=yesterday", 400, "is not a time"),
        ("/events?cursor=x", 400, "cannot be read"),
        ("/events?limit=100000", 400, "limit is not 1 to 500"),
        ("/event", 400, "the query has no id"),
        ("/event?id=nope", 404, "no event nope"),
        ("/room?provider=a&source=b&id=c", 404, "no events of a room c"),
        ("/dead?queue=nope", 404, "nope"),
        ("/dead?queue=../..", 400, "is not a name"),
        ("/refusal?id=7", 404, "no such refused request"),
        ("/refusal?id=x", 400, "is no number"),
        ("/events?" + "&".join(f"a{number}=1" for number in range(100)), 400, "cannot be read"),
    ],
)
async def test_a_question_that_has_no_answer_gets_a_sentence(site: Site, path: str, status: int, text: str) -> None:
    await site.append(joined(1))
    await site.installation.broker()
    for each in (path, f"/api{path}"):
        answer = await site.get(each)
        assert (answer.status, text in answer.text) == (status, True), answer.text


async def test_a_room_shows_who_was_inside_and_marks_what_came_late(site: Site) -> None:
    left = make(ParticipantLeft, "left", at_s=60, room_id="lesson", user_id="user-1", reason="left")
    late = joined(1, received_at=START + timedelta(hours=1))
    await site.append(make(RoomCreated, "created", room_id="lesson"), late, left)
    await site.append(joined(1, received_at=START + timedelta(hours=2)))
    page = json_of(await site.get("/api/room", provider="krtc", source="krtc-main", id="lesson"))
    assert [each["user_id"] for each in page["view"]["sessions"]] == ["user-1"]
    marks = {event["id"]: (event["late_s"], event["overtaken"]) for event in page["events"]}
    assert marks == {"left": (None, False), late.id: (3599.0, True), "created": (None, False)}
    text = (await site.get("/room", provider="krtc", source="krtc-main", id="lesson")).page.text
    assert "received 60 min later" in text
    assert text.count("delivered 2 times") == 1
    assert "delivered 2 times" in (await site.get("/event", id=late.id)).page.text
    assert "Who was inside when" in text


async def test_a_room_with_many_events_is_read_in_part(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hookline.admin.inspector.views.ROOM_EVENTS", 20)
    now = datetime.now(UTC)  # the log deletes old events
    await site.append(*(joined(number, received_at=now) for number in range(1200)))
    page = json_of(await site.get("/api/room", provider="krtc", source="krtc-main", id="lesson"))
    assert page["partial"]
    assert len(page["events"]) == PAGE
    assert len(page["view"]["inside"]) == 1000


async def test_an_event_says_what_each_queue_has_done_with_it(site: Site) -> None:
    event, store = joined(1, id="ab"), await site.installation.store()
    await site.append(event)
    broker = await site.installation.broker()
    for queue, patterns in (("done", ["#"]), ("held", ["#"]), ("failing", ["#"]), ("other", ["*.*.room.ended"])):
        await (await broker.subscribe(queue, patterns, 1)).close()
        if queue != "other":
            await store.claim(queue, event.id)
    await store.finish("done", event.id)
    await store.release("failing", event.id, failures=2)
    await (await broker.subscribe("waiting", ["#"], 1)).close()
    rows = {row["state"]["queue"]: row for row in json_of(await site.get("/api/event", id=event.id))["queues"]["value"]}
    states = {queue: row["state"]["state"] for queue, row in rows.items()}
    assert states == {
        "done": "finished",
        "held": "claimed",
        "failing": "tried",
        "other": "unknown",
        "waiting": "unknown",
    }
    assert rows["done"]["state"]["finished_at"] is not None
    assert rows["failing"]["state"]["failures"] == 2
    assert [rows[queue]["wanted"] for queue in ("other", "waiting")] == [False, True]
    text = (await site.get("/event", id=event.id)).page.text
    assert "does not want such events" in text
    assert "2 failed attempts" in text


async def test_the_delivery_of_an_event_comes_from_the_history(tmp_path: Path) -> None:
    sent = envelope(body=b'{"name": "Ada", "token": "s"}', subject="lesson")
    event = joined(1, id=sent.id, received_at=sent.received_at)
    async with inspected(tmp_path, f"[history]\nenabled = true\n{BODIES}") as site:
        await site.append(event)
        await (await site.installation.broker()).publisher.publish(sent)
        without = await site.get("/event", id=event.id)
        assert "Look for it in the history" in without.page.text
        assert "Ada" not in without.text
        assert "Ada" in (await site.get("/event", id=event.id, delivery="yes")).page.text
    (tmp_path / "other").mkdir()
    async with inspected(tmp_path / "other") as site:
        await site.append(event)
        await site.installation.broker()
        assert "history.enabled: it is off" in (await site.get("/event", id=event.id, delivery="yes")).page.text


async def test_personal_data_is_shown_only_if_the_settings_say_so(tmp_path: Path) -> None:
    secret, event = "Ada Lovelace", joined(1, display_name="Ada Lovelace")
    parked = Parked("failed", f'Traceback:\n  File "billing.py", line 7, in f\n    f()\nKeyError: {secret!r}', 3)
    for text, is_shown in (("", False), (BODIES, True)):
        folder = tmp_path / str(is_shown)
        folder.mkdir()
        async with inspected(folder, text) as site:
            recording = make(RecordingStarted, "recording", room_id="lesson", file_name=secret, directory=secret)
            await site.append(event, recording, make(RoomCreated, "created", room_id="lesson", name=secret))
            await site.park("billing", envelope(body=b'{"name": "Ada Lovelace"}'), parked)
            await site.refuse(refused(body=secret))
            for path in await pages_of(site):
                for each in (path, f"/api{path}"):
                    assert is_shown or secret not in (await site.get(each)).text, each
            for path in (
                f"/event?id={event.id}",
                "/dead?queue=billing",
                "/refusal?id=1",
                "/api/dead?queue=billing",
                ROOM,
                f"/api{ROOM}",
            ):
                assert (secret in (await site.get(path)).text) == is_shown, path
            dead = (await site.get("/dead", queue="billing")).page.text
            assert "billing.py" in dead
            assert "KeyError" in dead


def test_each_field_of_an_event_was_judged_personal_or_not() -> None:
    """A new field makes this test fail: add it here, or to PERSONAL if people write it or are called by it."""
    impersonal = """
        admitted answered_at call_id callee_ids caller_id connection_id direction duration_s ended_at error error_code
        format group_id issues kind labels level media members mixed muted operator_id owner_id platform
        previous_role_name protocol reason recording_id rejoined result role role_name room_id seats segment session_id
        size_bytes started_at starts_at state stream_id task_id track track_id transcript_id user_id
    """
    head = {each.name for each in msgspec.structs.fields(CanonicalEvent)}
    named = {each.name for kind in EVENT_TYPES.values() for each in msgspec.structs.fields(kind)} - head
    assert named == PERSONAL | set(impersonal.split())
    assert not PERSONAL & set(impersonal.split())


@pytest.mark.parametrize(
    ("traceback", "shown"),
    [
        ("", ""),
        ("poisoned by Ada", "***"),
        ('Traceback\n  File "a.py", line 1, in f\n    g(1)\nValueError: Ada\nLovelace', '  File "a.py", line 1, in f'),
        ('  File "a.py", line 1, in f\n    Ada()\nx.y.Error', "x.y.Error: ***"),
    ],
)
def test_a_traceback_without_text_has_places_and_a_type(traceback: str, shown: str) -> None:
    found = without_text(traceback)
    assert shown in found
    assert "Ada" not in found


async def test_a_part_that_cannot_be_read_leaves_the_rest_of_the_page(tmp_path: Path) -> None:
    text = '[broker]\nurl = "amqp://guest:a-password@127.0.0.1:1/"\n[spool]\npath = ""\n'
    async with inspected(tmp_path, text) as site:
        await site.append(joined(1))
        overview = await site.get("/")
        assert overview.status == 200
        assert "lesson" in overview.page.text
        assert 'role="alert"' in overview.text
        assert "a-password" not in overview.text
        assert (await site.get("/dead", queue="billing")).status == 503


async def test_the_first_page_reads_no_large_spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hookline-spool" / "one").mkdir(parents=True)
    (tmp_path / "hookline-spool" / "one" / "file").write_bytes(bytes(100))
    async with inspected(tmp_path, '[broker]\nurl = "amqp://guest:guest@127.0.0.1:1/"\n') as site:
        assert json_of(await site.get("/api/"))["spool"]["value"]["events"] == 0
        monkeypatch.setattr("hookline.admin.inspector.views._SPOOL_BYTES", 99)
        assert "the page of the queues counts what waits" in json_of(await site.get("/api/"))["spool"]["fault"]
        assert json_of(await site.get("/api/queues"))["spool"]["value"]["events"] == 0


async def test_looking_makes_no_file_where_there_is_none(site: Site) -> None:
    for path in ("/", "/rooms", "/queues", "/dead?queue=billing", "/events", "/refused"):
        await site.get(path)
    assert sorted(each.name for each in site.settings.path.parent.iterdir()) == ["hookline.toml"]


async def test_what_a_page_has_opened_is_closed_when_nobody_looks(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    await site.append(joined(1))

    def files_open() -> int:
        return sum(thread.name == "sqlite hookline.db" for thread in threading.enumerate())

    assert files_open() == 1  # the one of this test
    await site.get("/rooms")
    assert files_open() == 2
    await site.get("/rooms")
    assert files_open() == 2
    monkeypatch.setattr("hookline.admin.inspector.reading.IDLE_S", 0)
    await site.get("/rooms")
    async with asyncio.timeout(60):
        while files_open() > 1:  # noqa: ASYNC110  a thread that ends tells nobody
            await asyncio.sleep(0.02)
    assert (await site.get("/rooms")).status == 200


async def test_sources_show_the_url_for_the_console_and_the_latest_event(site: Site) -> None:
    await site.append(joined(1), joined(2))
    await site.refuse(refused())
    rows = {row["name"]: row for row in json_of(await site.get("/api/sources"))["sources"]}
    assert rows["krtc-main"]["url"] == "https://example.com/hooks/krtc-main"
    assert rows["krtc-main"]["last"]["id"] == "event-0002"
    assert rows["krtc-main"]["refused"] == 1
    assert (rows["voice"]["url"], rows["voice"]["last"]) == ("/hooks/voice", None)
    everything = (await site.get("/sources")).text + (await site.get("/api/sources")).text
    assert "a-secret-of-some-length" not in everything


async def test_refused_requests_are_listed_filtered_and_shown(site: Site) -> None:
    for number in range(PAGE + 3):
        await site.refuse(refused(detail=f"detail {number}", source="" if number == 0 else "krtc-main"))
    first = json_of(await site.get("/api/refused"))
    assert first["refusals"][0]["detail"] == f"detail {PAGE + 2}"
    second = json_of(await site.get(f"/api/refused?{first['next']}"))
    assert (len(second["refusals"]), second["next"]) == (3, "")
    unknown = json_of(await site.get("/api/refused", source="-"))
    assert [each["detail"] for each in unknown["refusals"]] == ["detail 0"]
    shown = await site.get("/refusal", id=str(first["refusals"][0]["id"]))
    assert f"detail {PAGE + 2}" in shown.page.text
    assert "bad_signature" in shown.page.text


async def test_what_could_not_be_read_as_a_request_is_shown_and_not_judged(site: Site) -> None:
    await site.refuse(refused(source="", reason="malformed_request", method="", path="", headers=()))
    assert "not read" in (await site.get("/refused")).page.text
    verified = await site.get("/refusal", id="1", verify="yes")
    assert "it was not read" in verified.page.text
    assert "It cannot be told whether it would be accepted." in verified.page.text


async def test_a_refused_request_is_verified_again(site: Site) -> None:
    exact = b"POST /hooks/krtc-main HTTP/1.1\r\nHost: x\r\nKRTC-Signature: a-signature\r\nContent-Length: 2\r\n\r\n{}"
    await site.refuse(refused(hint="it fits the secret of voice", exact=exact))
    page = await site.get("/refusal", id="1")
    assert "it fits the secret of voice" in page.page.text
    (link,) = {each for each in page.page.links() if "verify" in each}
    verified = await site.get(link)
    assert "It would be refused: bad_signature." in verified.page.text
    verdict = json_of(await site.get(f"/api{link}"))["verdict"]["value"]
    assert {step["step"]: step["result"] for step in verdict["steps"]}["signature"] == "fails"
    for path in ("/refusal?id=1", "/refused", link):
        for each in (path, f"/api{path}"):
            assert "a-signature" not in (await site.get(each)).text


async def test_the_overview_says_what_keeps_the_process_from_its_work(site: Site) -> None:
    page = (await site.get("/")).page
    assert "This process (worker) is not ready." in page.text
    assert "<b>billing</b> is not consumed" in page.text


async def test_pages_can_be_used_by_keyboard_and_in_a_narrow_window(site: Site) -> None:
    await site.append(joined(1))
    for path in await pages_of(site):
        page = (await site.get(path)).page
        names = [tag for tag, _ in page.elements]
        assert ("a", {"class": "skip", "href": "#main"}) in page.elements
        assert names.count("h1") == names.count("main") == 1
        assert any(each.get("name") == "viewport" for _, each in page.elements)
        assert all("data-label" in each for tag, each in page.elements if tag == "td")
        assert not [each for _, each in page.elements if int(each.get("tabindex", "0")) > 0]


async def test_the_live_view_sends_what_comes(site: Site) -> None:
    await site.append(joined(1))
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{site.port}/live/stream", timeout=aiohttp.ClientTimeout(total=60)) as response,
    ):
        assert response.headers["Content-Type"] == "text/event-stream"
        assert response.headers["Server"] == "hookline-admin"
        first = await response.content.readuntil(b"\n\n")
        assert first == b": quiet\n\n"
        await site.append(joined(2, received_at=datetime.now(UTC), user_id=HOSTILE))
        await site.refuse(refused(detail="a new one"))
        found: dict[str, list[dict[str, object]]] = {"event": [], "refused": []}
        while not all(found.values()):
            message = (await response.content.readuntil(b"\n\n")).decode()
            if message.startswith("event: "):
                kind, _, data = message.removeprefix("event: ").partition("\ndata: ")
                found[kind].append(msgspec.json.decode(data))
        assert [event["id"] for event in found["event"]] == ["event-0002"]
        assert [each["detail"] for each in found["refused"]] == ["a new one"]


async def test_only_some_watch_the_live_view_at_a_time(site: Site) -> None:
    await site.append(joined(1))
    async with aiohttp.ClientSession() as session:
        streams = [await session.get(f"http://127.0.0.1:{site.port}/live/stream") for _ in range(4)]
        for stream in streams:
            await stream.content.readuntil(b"\n\n")
        assert (await site.get("/live/stream")).status == 503
        for stream in streams:
            stream.close()


async def test_a_browser_that_reads_nothing_leaves_its_live_view_to_another(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    await site.append(joined(1))
    monkeypatch.setattr(pages, "SLOW_S", 0.2)
    monkeypatch.setattr(live, "MAX_VIEWERS", 1)
    monkeypatch.setattr(live, "LOOK_EVERY_S", 0.01)
    monkeypatch.setattr(live.Live, "_batch", lambda *_: b": " + b"x" * 2**20 + b"\n\n")
    reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
    writer.write(b"GET /live/stream HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
    writer.transport.pause_reading()  # type: ignore[attr-defined]  # of every transport of a socket

    async def watched() -> bool:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{site.port}/live/stream") as response,
        ):
            return response.status == 200

    assert not await watched()
    await eventually(watched)
    writer.transport.abort()


async def test_a_link_to_a_room_leads_to_it_whatever_its_name(site: Site) -> None:
    await site.append(make(RoomCreated, "created", room_id=HOSTILE))
    (link,) = {each for each in (await site.get("/rooms")).page.links() if each.startswith("/room?")}
    assert dict(parse_qsl(urlsplit(link).query))["id"] == HOSTILE
    assert (await site.get(link)).status == 200
