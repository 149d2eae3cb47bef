"""An inspector over a real installation, and what a browser sees of its pages."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import aiohttp
import msgspec

from hookline.admin.pages import ReadinessPage
from hookline.admin.server import AdminServer
from hookline.audit.writer import SqliteRefusalWriter
from hookline.events import CanonicalEvent
from hookline.runtime.installation import Installation
from hookline.schemas.broker import Parked
from hookline.schemas.envelope import Envelope
from hookline.schemas.process_states import ProcessState
from hookline.schemas.refusals import RefusedRequest
from hookline.settings import Settings, load
from tests.contract.installations import eventually, taken
from tests.services.servers import free_ports

TOKEN = "a-token-for-the-operator"
SOURCES = """
[sources.krtc-main]
provider = "krtc"
secrets = ["a-secret-of-some-length"]
public_url = "https://example.com/hooks/krtc-main"
[sources.voice]
provider = "gme"
biz_id = 1
secrets = ["another-secret-of-some-length"]
"""


@dataclass
class Seen(HTMLParser):
    """A page as its elements and its text."""

    html: str
    text: str = ""
    elements: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self.feed(self.html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        self.text += data

    def links(self) -> list[str]:
        return [each["href"] for tag, each in self.elements if tag == "a"]

    def fields(self, action: str) -> dict[str, str]:
        """The hidden fields of the first form with this action."""
        found: dict[str, str] = {}
        inside = False
        for tag, attributes in self.elements:
            if tag == "form":
                if found:
                    break
                inside = attributes.get("action") == action
            if inside and tag == "input" and attributes.get("type") == "hidden":
                found[attributes["name"]] = attributes.get("value", "")
        return found


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def page(self) -> Seen:
        return Seen(self.text)


class Pages:
    async def metrics(self) -> bytes:
        return b""

    async def readiness(self) -> ReadinessPage:
        return ReadinessPage(ready=False, role="worker", reasons=["<b>billing</b> is not consumed"])

    async def processes(self) -> list[ProcessState]:
        return []


@dataclass
class Site:
    """The inspector of one installation, and what fills it."""

    settings: Settings
    port: int
    installation: Installation
    server: AdminServer

    async def get(self, path: str, headers: Mapping[str, str] | None = None, **query: str) -> Answer:
        return await self.ask("GET", f"{path}?{urlencode(query)}" if query else path, headers=headers)

    async def post(self, path: str, form: Mapping[str, str], headers: Mapping[str, str] | None = None) -> Answer:
        form_type = {"Content-Type": "application/x-www-form-urlencoded"}
        return await self.ask("POST", path, headers={**form_type, **(headers or {})}, body=urlencode(form).encode())

    async def ask(
        self, method: str, path: str, *, headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> Answer:
        async with (
            aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session,
            session.request(
                method, f"http://127.0.0.1:{self.port}{path}", headers=headers, data=body, allow_redirects=False
            ) as response,
        ):
            return Answer(response.status, response.headers.copy(), await response.read())

    async def session(self) -> dict[str, str]:
        """The headers of a browser that has logged in."""
        answer = await self.post("/login", {"token": TOKEN})
        assert answer.status == 303
        return {"Cookie": answer.headers["Set-Cookie"].partition(";")[0]}

    async def append(self, *events: CanonicalEvent) -> None:
        log = await self.installation.event_log()
        await asyncio.gather(*map(log.append, events))

    async def park(self, queue: str, envelope: Envelope, parked: Parked) -> None:
        broker = await self.installation.broker()
        subscribed = await broker.subscribe(queue, ["#"], 10)
        await broker.publisher.publish(envelope)
        (received,) = await taken(subscribed)
        before = await broker.dead_letters.count(queue)
        await subscribed.settle(received, parked)

        async def is_parked() -> bool:
            return await broker.dead_letters.count(queue) > before

        await eventually(is_parked)
        await subscribed.close()

    async def refuse(self, request: RefusedRequest) -> None:
        writer = SqliteRefusalWriter(self.settings.path.parent / self.settings.audit.path, self.settings.audit)
        writer.put(request)
        writer.count({(request.source, request.reason): 1}, request.at_s)
        await writer.close()


@asynccontextmanager
async def inspected(folder: Path, text: str = "", *, token: str = "") -> AsyncIterator[Site]:
    """`text` is more of the settings file."""
    (port,) = free_ports(1)
    admin = f'[admin]\nport = {port}\ntoken = "{token}"\n'
    path = folder / "hookline.toml"
    path.write_text(f"{admin}{text}\n[audit]\nmax_age_s = 3e9\n{SOURCES}")
    settings = load(path, with_sources=True)
    server = AdminServer(Pages(), settings.admin, settings)
    assert await server.start() == port
    try:
        async with Installation(settings) as installation:
            yield Site(settings, port, installation, server)
    finally:
        await server.stop()


def json_of(answer: Answer) -> Any:
    return msgspec.json.decode(answer.body)
