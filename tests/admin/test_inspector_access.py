"""Who may see the inspector's pages, and who may act on them."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from hookline.admin.inspector.session import SESSION_S, Sessions
from hookline.schemas.broker import Parked
from tests.admin.inspected import TOKEN, Site, inspected, json_of
from tests.contract.installations import envelope

READ = ["/", "/events", "/rooms", "/dead?queue=billing", "/live"]


@pytest.fixture
async def closed(tmp_path: Path) -> AsyncIterator[Site]:
    """An inspector with a token."""
    async with inspected(tmp_path, token=TOKEN) as site:
        yield site


@pytest.fixture
async def open_site(tmp_path: Path) -> AsyncIterator[Site]:
    """An inspector without a token."""
    async with inspected(tmp_path) as site:
        yield site


async def with_dead_letters(site: Site, count: int = 2) -> list[str]:
    ids = []
    for number in range(count):
        sent = envelope(number=number)
        ids.append(sent.id)
        await site.park("billing", sent, Parked("failed", "ValueError", 3))
    return ids


async def dead(site: Site) -> int:
    return await (await site.installation.broker()).dead_letters.count("billing")


async def test_a_browser_is_asked_for_the_token_and_comes_back_to_its_page(closed: Site) -> None:
    for path in READ:
        turned_away = await closed.get(path)
        assert turned_away.status == 303
        login = await closed.get(turned_away.headers["Location"])
        to = login.page.fields("/login")["to"]
        assert to == path
        entered = await closed.post("/login", {"token": TOKEN, "to": to})
        assert (entered.status, entered.headers["Location"]) == (303, path)
    session = await closed.session()
    assert (await closed.get("/refused", headers=session)).status == 200
    assert TOKEN not in (await closed.get("/", headers=session)).text


async def test_a_new_token_ends_sessions_without_a_restart(closed: Site) -> None:
    session = await closed.session()
    closed.server.use_token("another-token-for-the-operator")
    assert (await closed.get("/", headers=session)).status == 303
    assert (await closed.get("/", headers={"Authorization": f"Bearer {TOKEN}"})).status in (303, 401)
    entered = await closed.post("/login", {"token": "another-token-for-the-operator", "to": "/"})
    assert (entered.status, entered.headers["Location"]) == (303, "/")


async def test_the_cookie_is_for_this_site_and_for_http_only(closed: Site) -> None:
    entered = await closed.post("/login", {"token": TOKEN})
    cookie = entered.headers["Set-Cookie"]
    assert all(each in cookie for each in ("HttpOnly", "SameSite=Strict", f"Max-Age={SESSION_S}"))
    assert TOKEN not in cookie
    assert "Secure" not in cookie
    behind_tls = await closed.post("/login", {"token": TOKEN}, {"X-Forwarded-Proto": "https"})
    assert "Secure" in behind_tls.headers["Set-Cookie"]


@pytest.mark.parametrize("token", ["", "wrong", TOKEN[:-1], f"{TOKEN}x", "é", "\x00"])
async def test_a_wrong_token_opens_nothing(closed: Site, token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hookline.admin.inspector.pages._WRONG_TOKEN_S", 0)
    answer = await closed.post("/login", {"token": token})
    assert (answer.status, "Set-Cookie" in answer.headers) == (403, False)


@pytest.mark.parametrize(
    "target",
    ["//evil.example", "//[x", "https://evil.example/", "/\\evil.example", "javascript:alert(1)", "", "/\r\nX: y", "x"],
)
async def test_a_login_leads_nowhere_else(closed: Site, target: str) -> None:
    assert (await closed.post("/login", {"token": TOKEN, "to": target})).headers["Location"] == "/"


@pytest.mark.parametrize(
    "cookie",
    ["", "x", "9999999999.", "9999999999.00", ".", "99999999999999999999999.x", "١٢.x", "9999999999.é"],
)
async def test_a_forged_cookie_opens_nothing(closed: Site, cookie: str) -> None:
    headers = {"Cookie": f"hookline-inspector={cookie}"}
    assert (await closed.get("/rooms", headers=headers)).status == 303
    assert (await closed.get("/api/rooms", headers=headers)).status == 401


@pytest.mark.parametrize("path", ["/api/rooms", "/live/stream", "/metrics", "/readyz"])
async def test_a_program_sends_the_token_in_a_header(closed: Site, path: str) -> None:
    assert (await closed.get(path)).status == 401
    assert (await closed.get(path, headers={"Authorization": "Bearer wrong"})).status == 401
    if path != "/live/stream":
        status = (await closed.get(path, headers={"Authorization": f"Bearer {TOKEN}"})).status
        assert status in ((200, 503) if path == "/api/rooms" else (200,) if path == "/metrics" else (503,))


def test_a_session_ends_by_time_and_by_another_token() -> None:
    class Request:
        headers: Mapping[str, str] = {}
        scheme = "http"

        def __init__(self, cookie: str) -> None:
            self.cookies = {"hookline-inspector": cookie}

    class Response:
        cookie = ""

        def set_cookie(self, _: str, value: str, **__: object) -> None:
            self.cookie = value

    now_s = 1000.0
    sessions, response = Sessions(lambda: TOKEN, lambda: now_s), Response()
    sessions.open(response, Request(""))  # type: ignore[arg-type]  # it sets a cookie only
    request = Request(response.cookie)
    assert sessions.may_look(request)  # type: ignore[arg-type]  # it has cookies and headers only
    assert not Sessions(lambda: f"{TOKEN}-2", lambda: now_s).may_look(request)  # type: ignore[arg-type]  # as above
    now_s += SESSION_S + 1
    assert not sessions.may_look(request)  # type: ignore[arg-type]  # as above


async def test_logging_out_ends_the_session_in_the_browser(closed: Site) -> None:
    session = await closed.session()
    proof = (await closed.get("/", headers=session)).page.fields("/logout")
    assert (await closed.post("/logout", {}, session)).status == 403
    left = await closed.post("/logout", proof, session)
    assert (left.status, left.headers["Location"]) == (303, "/login")
    assert "Max-Age=0" in left.headers["Set-Cookie"]


async def test_dead_letters_are_replayed_after_a_dry_run(closed: Site) -> None:
    ids = await with_dead_letters(closed)
    session = await closed.session()
    form = (await closed.get("/dead", queue="billing", headers=session)).page.fields("/dead/replay")
    assert form["dry_run"] == "yes"
    dry = await closed.post("/dead/replay", form, session)
    assert (dry.status, await dead(closed)) == (200, 2)
    assert "2 would be replayed" in dry.page.text
    assert all(each in dry.text for each in ids)
    one = await closed.post("/dead/replay", {**form, "dry_run": "", "id": ids[1]}, session)
    assert "1 were replayed" in one.page.text
    left = json_of(await closed.get("/api/dead", queue="billing", headers=session))
    assert [letter["id"] for letter in left["letters"]] == ids[:1]
    await closed.post("/dead/replay", dry.page.fields("/dead/replay"), session)
    assert await dead(closed) == 0


async def test_a_program_replays_with_the_token(closed: Site) -> None:
    await with_dead_letters(closed)
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    result = json_of(await closed.post("/api/dead/replay", {"queue": "billing", "reason": "poisoned"}, bearer))
    assert (result["replayed"], result["left"]) == (0, 2)
    result = json_of(await closed.post("/api/dead/replay", {"queue": "billing"}, bearer))
    assert (result["replayed"], result["left"]) == (2, 0)


@pytest.mark.parametrize(
    "forged",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
async def test_a_form_of_another_site_does_nothing(closed: Site, forged: Mapping[str, str]) -> None:
    """Even with the cookie and the proof, which such a site cannot have."""
    await with_dead_letters(closed, 1)
    session = await closed.session()
    form = {**(await closed.get("/dead", queue="billing", headers=session)).page.fields("/dead/replay"), "dry_run": ""}
    assert (await closed.post("/dead/replay", form, {**session, **forged})).status == 403
    assert await dead(closed) == 1


async def test_a_form_without_the_proof_of_its_session_does_nothing(closed: Site) -> None:
    await with_dead_letters(closed, 1)
    session = await closed.session()
    for proof in ("", "x", "0" * 64, "é"):
        answer = await closed.post("/dead/replay", {"queue": "billing", "form_proof": proof}, session)
        assert answer.status == 403
    assert (await closed.post("/dead/replay", {"queue": "billing"})).status == 401
    assert (await closed.get("/dead/replay", queue="billing", headers=session)).status == 404
    assert await dead(closed) == 1


async def test_without_a_token_nobody_can_act(open_site: Site) -> None:
    await with_dead_letters(open_site, 1)
    page = await open_site.get("/dead", queue="billing")
    assert page.page.fields("/dead/replay") == {}
    assert "hookline dead replay billing" in page.page.text
    answer = await open_site.post("/dead/replay", {"queue": "billing", "form_proof": ""})
    assert (answer.status, "Actions need a token" in answer.text) == (403, True)
    assert await dead(open_site) == 1


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:9464", 200),
        ("localhost", 200),
        ("[::1]:9464", 200),
        ("hookline.localhost:1", 200),
        ("rebound.evil.example", 403),
        ("127.0.0.1.evil.example:9464", 403),
        ("localhost.evil.example", 403),
        ("[", 403),
    ],
)
async def test_without_a_token_no_foreign_name_leads_here(open_site: Site, host: str, status: int) -> None:
    assert (await open_site.get("/refused", headers={"Host": host})).status == status


async def test_with_a_token_any_name_leads_here(closed: Site) -> None:
    session = await closed.session()
    assert (await closed.get("/refused", headers={**session, "Host": "hookline.internal"})).status == 200


@pytest.mark.parametrize(("method", "status"), [("PUT", 405), ("DELETE", 405), ("POST", 405), ("HEAD", 200)])
async def test_pages_are_read_only(open_site: Site, method: str, status: int) -> None:
    assert (await open_site.ask(method, "/refused")).status == status


async def test_a_large_form_is_refused(closed: Site) -> None:
    answer = await closed.post("/dead/replay", {"queue": "x" * 100_000}, await closed.session())
    assert answer.status == 413


@pytest.mark.parametrize("headers", [{"Content-Encoding": "gzip"}, {"Transfer-Encoding": "chunked"}])
async def test_a_form_that_cannot_be_read_is_refused(
    closed: Site, headers: Mapping[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    length = {} if "Transfer-Encoding" in headers else {"Content-Length": "5"}
    lines = [f"{name}: {value}" for name, value in {"Host": "127.0.0.1", **length, **headers}.items()]
    reader, writer = await asyncio.open_connection("127.0.0.1", closed.port)
    writer.write("\r\n".join(["POST /login HTTP/1.1", *lines, "", ""]).encode() + b"\x1f\x8bxyz\r\n\r\n")
    async with asyncio.timeout(10):
        assert b" 400 " in await reader.readline()
    writer.close()
    assert caplog.text == ""


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
@pytest.mark.parametrize("path", ["/live/stream", "/events", "/api/events"])
async def test_a_foreign_page_can_link_to_pages_and_embed_or_fetch_none(open_site: Site, path: str, site: str) -> None:
    for use in ("empty", "image", "iframe", ""):
        headers = {"Sec-Fetch-Site": site, "Sec-Fetch-Dest": use}
        async with asyncio.timeout(10):
            assert (await open_site.get(path, headers=headers)).status == 403
    linked = {"Sec-Fetch-Site": site, "Sec-Fetch-Dest": "document", "Sec-Fetch-Mode": "navigate"}
    assert (await open_site.get("/sources", headers=linked)).status == 200
