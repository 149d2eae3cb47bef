"""`hookline new-provider`: writes a provider to fill in."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import msgspec

from hookline.cli import provider_template as template
from hookline.cli.output import say
from hookline.schemas.errors import SettingsError
from hookline.schemas.provider import Provider, Request, Source
from hookline.schemas.providers import catalogue
from hookline.schemas.topics import NAME
from hookline.testing import seal_callback

_NOW_S = 1_700_000_000
_HIDDEN = ("id", "provider", "source", "received_at")


@dataclass(frozen=True)
class Layout:
    """Where the parts of a provider belong."""

    module: Path
    vectors: Path
    test: Path
    is_in_hookline: bool


@click.command(
    epilog="""\b
    Examples:
      hookline new-provider acme
      hookline new-provider acme --folder providers
    """
)
@click.argument("name")
@click.option(
    "--folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=Path(),
    help="The folder to write into.  [default: this one]",
)
def new_provider(name: str, folder: Path) -> None:
    """Write a provider to fill in: a module, vectors and tests.

    NAME is the word in topics and settings. What is written is an invented provider that works; its tests pass. Replace
    it piece by piece, where it says "fill in". In a checkout of Hookline the parts go where built-in providers are.
    Elsewhere they make a provider of your own. No file is overwritten.
    """
    if not NAME.fullmatch(name):
        raise SettingsError(f"{name!r} cannot be a word of a topic: use a-z, 0-9, _ and -")
    if name in catalogue():
        raise SettingsError(f"{name} is a built-in provider: give yours another name")
    layout = _layout(name, folder)
    files = dict(_files(name, layout))
    if taken := [path for path in files if path.exists()]:
        raise SettingsError(f"{taken[0]} exists")
    for path, content in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        click.echo(f"wrote {path}")
    say(_next_step(layout))


def _next_step(layout: Layout) -> str:
    if layout.is_in_hookline:
        return "Next: fill in the module, run the tests, and `make tables`."
    return f'Next: fill in the module, run pytest, and name it: provider = "{layout.module.stem}:PROVIDER"'


def _module(name: str) -> str:
    module = name.replace("-", "_")
    return f"_{module}" if module[0].isdigit() else module


def _layout(name: str, folder: Path) -> Layout:
    module = _module(name)
    providers, vectors = folder / "schemas" / "providers", folder / "tests" / "vectors"
    if providers.is_dir() and vectors.is_dir():
        test = folder / "tests" / "providers" / f"test_{module.strip('_')}.py"
        return Layout(providers / f"{module}.py", vectors / name, test, is_in_hookline=True)
    test = folder / f"test_{module.strip('_')}.py"
    return Layout(folder / f"{module}.py", folder / "vectors" / name, test, is_in_hookline=False)


def _files(name: str, layout: Layout) -> Iterator[tuple[Path, bytes]]:
    imports = template.IMPORTS_IN_HOOKLINE if layout.is_in_hookline else template.IMPORTS_OUTSIDE
    module = _filled(template.MODULE.replace("IMPORTS\n", imports), name)
    test = template.TEST_IN_HOOKLINE if layout.is_in_hookline else template.TEST_OUTSIDE
    yield layout.module, module.encode()
    yield layout.test, _filled(test, name).encode()
    yield layout.vectors / "README.md", _filled(template.README, name).encode()
    for case, parts in _vectors(name, _provider(module)):
        for file, content in parts.items():
            yield layout.vectors / case / file, content


def _filled(text: str, name: str) -> str:
    title = " ".join(word.capitalize() for word in re.split(r"[-_]", name))
    words = {"NAME": name, "MODULE": _module(name), "TITLE": title, "HEADER": f"X-{title.replace(' ', '-')}"}
    return re.sub(r"\b(NAME|MODULE|TITLE|HEADER)\b", lambda found: words[found[1]], text)


def _provider(module: str) -> Provider[Any]:
    """The provider that the module declares. It is the template, and nobody else's code."""
    names: dict[str, Any] = {}
    exec(compile(module, "<new provider>", "exec"), names)  # noqa: S102  see above
    provider: Provider[Any] = names["PROVIDER"]
    return provider


def _vectors(name: str, provider: Provider[Any]) -> Iterator[tuple[str, Mapping[str, bytes]]]:
    """A vector of each sample, and one of an unknown type."""
    for sample in provider.samples:
        yield sample.type.replace(".", "-"), _vector(name, provider, sample.body(1, _NOW_S))
    unknown = {"id": "1", "type": "room.painted", "room": "demo-1", "at": _NOW_S * 1000}
    yield "unknown-type", _vector(name, provider, unknown)


def _vector(name: str, provider: Provider[Any], content: Any) -> Mapping[str, bytes]:
    secret = f"vector-secret-for-{name}"
    source = Source(
        name=provider.example.source, provider=provider, account=provider.account(), keys=(provider.key(secret),)
    )
    signed = provider.sign(msgspec.json.encode(content), source, _NOW_S)
    headers = {"Host": "hooks.example.com", "Content-Type": provider.content_type, **signed.headers}
    lines = [f"POST /hooks/{source.name} HTTP/1.1", *(f"{header}: {value}" for header, value in headers.items())]
    head = "\r\n".join([*lines, f"Content-Length: {len(signed.body)}", "", ""])
    case = {"settings": {"secrets": [secret]}, "now": _NOW_S, "expected": _expected(provider, signed.body)}
    text = json.dumps(case, indent=2, ensure_ascii=False) + "\n"
    return {"request.http": head.encode() + signed.body, "case.json": text.encode()}


def _expected(provider: Provider[Any], body: bytes) -> Mapping[str, Any]:
    envelope = seal_callback(provider, Request(body), _NOW_S)
    events = msgspec.json.decode(msgspec.json.encode(provider.normalise(envelope)))
    return {
        "event_type": envelope.event_type,
        "subject": envelope.subject,
        "id": envelope.id,
        "events": [
            {field: value for field, value in event.items() if value is not None and field not in _HIDDEN}
            for event in events
        ],
        "reply": msgspec.json.decode(provider.reply.body),
    }
