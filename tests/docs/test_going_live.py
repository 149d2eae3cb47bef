"""Each provider has a page on going live, of one form, whose settings load and whose facts name their sources."""

import re
from base64 import b64encode
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from docs import going_live
from docs.going_live import BLOCKS, FOLDER, page_of
from hookline.schemas.provider import Provider
from hookline.schemas.providers import catalogue
from hookline.settings import load
from tests.vector_cases import sent

SECTIONS = (
    "In the console",
    "Addresses to allow",
    "Try it through a tunnel",
    "Rotate the secret",
    "When Hookline does not answer",
    "Not known",
)
SECRETS = {name: b64encode(name.encode() * 3).decode() for name in ("CALLBACK_SECRET", "NEW_SECRET", "OLD_SECRET")}
NOW_S = 1_700_000_000
OF_THE_PROVIDER = ("In the console", "Addresses to allow", "When Hookline does not answer")
WITHOUT_PUBLIC_PAGES = {"krtc"}

each_provider = pytest.mark.parametrize("provider", catalogue().values(), ids=lambda provider: provider.name)


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, secret in SECRETS.items():
        monkeypatch.setenv(name, secret)


def text_of(provider: Provider[Any]) -> str:
    return page_of(provider).read_text(encoding="utf-8")


def sections(provider: Provider[Any]) -> dict[str, str]:
    parts = re.split(r"(?m)^## (.*)$", text_of(provider))
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def settings_of(provider: Provider[Any], block: str, folder: Path) -> Path:
    (snippet,) = re.findall(rf"<!-- {block} -->\n```toml\n(.*?)```", text_of(provider), re.DOTALL)
    path = folder / "hookline.toml"
    path.write_text(snippet, encoding="utf-8")
    return path


def test_every_provider_has_a_page_and_nobody_else() -> None:
    assert {path.stem for path in FOLDER.iterdir()} == set(catalogue())


@each_provider
def test_a_page_has_the_sections_of_the_template(provider: Provider[Any]) -> None:
    assert tuple(sections(provider)) == SECTIONS
    assert [name for name in BLOCKS if f"<!-- {name} -->" not in text_of(provider)] == []


@each_provider
def test_the_settings_of_a_page_load(provider: Provider[Any], tmp_path: Path) -> None:
    (source,) = load(settings_of(provider, "settings", tmp_path), with_sources=True).sources.values()
    assert source.provider is provider
    assert source.name == provider.example.source
    assert f"/hooks/{source.name}" in sections(provider)["Try it through a tunnel"]


@each_provider
def test_during_the_rotation_of_a_page_both_secrets_are_accepted(provider: Provider[Any], tmp_path: Path) -> None:
    (source,) = load(settings_of(provider, "rotate", tmp_path), with_sources=True).sources.values()
    new, old = source.keys
    assert (new, old) == (provider.key(SECRETS["NEW_SECRET"]), provider.key(SECRETS["OLD_SECRET"]))
    body = msgspec.json.encode(provider.samples[0].body(1, NOW_S))
    for key in (new, old):
        signed = sent(provider.sign(body, replace(source, keys=(key,)), NOW_S))
        provider.verify(signed, source, NOW_S)


@each_provider
def test_what_a_page_says_of_the_provider_has_a_source_or_is_said_to_be_unknown(provider: Provider[Any]) -> None:
    found = sections(provider)
    source = "KRTC's page" if provider.name in WITHOUT_PUBLIC_PAGES else "](https://"
    sourceless = [name for name in OF_THE_PROVIDER if source not in found[name] and "Not known" not in found[name]]
    assert sourceless == []
    assert found["Not known"].strip().startswith("- ")


@each_provider
def test_a_page_names_every_published_address_and_the_url_of_its_source(provider: Provider[Any]) -> None:
    found = sections(provider)
    assert [each for each in provider.addresses if f"`{each}`" not in found["Addresses to allow"]] == []
    assert f"/hooks/{provider.example.source}`" in found["In the console"]


@each_provider
def test_a_page_that_is_missing_is_begun_from_the_template(
    provider: Provider[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(going_live, "FOLDER", tmp_path)
    page_of(provider).write_text(going_live.text_of(provider), encoding="utf-8")
    test_a_page_has_the_sections_of_the_template(provider)
    test_the_settings_of_a_page_load(provider, tmp_path)
    test_what_a_page_says_of_the_provider_has_a_source_or_is_said_to_be_unknown(provider)
    test_a_page_names_every_published_address_and_the_url_of_its_source(replace(provider, addresses=()))
