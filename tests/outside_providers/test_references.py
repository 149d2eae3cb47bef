"""A source may name a provider from outside: `provider = "package.module:NAME"`."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hookline.schemas.envelope import moment, seal
from hookline.schemas.errors import SettingsError, Unreadable
from hookline.schemas.events import RoomCreated
from hookline.schemas.provider import Request
from hookline.schemas.providers import catalogue
from hookline.settings import load, load_providers
from hookline.workers.normaliser import normaliser
from tests.outside_providers.example import write_example

GOOD = "secrets = ['a-secret-of-some-length']\n"
BODY = b'{"room":"lesson","at":1700000000}'
MODULE = "from hookline.schemas.providers import krtc\nfrom dataclasses import replace\n"

WRONG = {
    "no name": ("mine:", "", "'mine:' is not of the form \"package.module:NAME\""),
    "no name of a module": ("my-own:P", "", "'my-own:P' is not of the form \"package.module:NAME\""),
    "no module": ("nowhere:P", "", "there is no module nowhere, neither on Python's path nor in FOLDER"),
    "no module in a module": ("mine.inner:P", "", "there is no module mine.inner, neither on Python's path nor in"),
    "an import in it fails": (
        "mine:P",
        "import nowhere",
        "the module mine cannot be imported: ModuleNotFoundError: No module named 'nowhere', in FOLDER/mine.py:1",
    ),
    "its code fails": (
        "mine:P",
        "1 / 0",
        "the module mine cannot be imported: ZeroDivisionError: division by zero, in FOLDER/mine.py:1",
    ),
    "no Python": ("mine:P", "def", "the module mine cannot be imported: SyntaxError: invalid syntax"),
    "no such value": ("mine:P", "", "the module mine has no P"),
    "no provider": ("mine:P", "P = {}", "mine:P is of the type dict; a hookline.provider.Provider is needed"),
    "a name with a dot": (
        "mine:P",
        f"{MODULE}P = replace(krtc.PROVIDER, name='My.Own')",
        "the provider's name 'My.Own' is no word of a topic",
    ),
    "a name that is no text": (
        "mine:P",
        f"{MODULE}P = replace(krtc.PROVIDER, name=None)",
        "the provider's name None is no word of a topic",
    ),
    "the name of a built-in provider": (
        "mine:P",
        f"{MODULE}P = krtc.PROVIDER",
        "the provider's name 'krtc' is that of a built-in provider",
    ),
}


@pytest.fixture(autouse=True)
def fresh_modules() -> Iterator[None]:
    """Forget what a test imports, and where from."""
    path, names = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - names:
        del sys.modules[name]


def settings_file(folder: Path, *references: str) -> Path:
    path = folder / "hookline.toml"
    path.write_text("".join(f"[sources.s{n}]\nprovider = '{name}'\n{GOOD}" for n, name in enumerate(references)))
    return path


def module(folder: Path, text: str) -> None:
    (folder / "mine.py").write_text(text)


def refusal(path: Path, *, with_sources: bool = True) -> str:
    with pytest.raises(SettingsError) as raised:
        load(path, with_sources=with_sources)
    assert "\n" not in str(raised.value)
    assert str(raised.value).startswith(f"{path}: ")
    return str(raised.value).removeprefix(f"{path}: ")


def test_a_source_names_a_provider_beside_the_settings_file(tmp_path: Path) -> None:
    settings = load(settings_file(tmp_path, write_example(tmp_path)), with_sources=True)
    assert settings.sources["s0"].provider.name == "acme"
    assert settings.providers["acme"] is settings.sources["s0"].provider


def test_a_provider_on_the_path_comes_before_one_beside_the_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("first", "settings"):
        (tmp_path / folder).mkdir()
        module(tmp_path / folder, f"{MODULE}PROVIDER = replace(krtc.PROVIDER, name={folder!r})")
    monkeypatch.syspath_prepend(tmp_path / "first")
    path = settings_file(tmp_path / "settings", "mine:PROVIDER")
    assert load(path, with_sources=True).sources["s0"].provider.name == "first"


def test_two_sources_may_have_one_provider_from_outside(tmp_path: Path) -> None:
    reference = write_example(tmp_path)
    settings = load(settings_file(tmp_path, reference, reference), with_sources=True)
    assert settings.sources["s0"].provider is settings.sources["s1"].provider


def test_a_role_without_sources_knows_the_providers_and_needs_no_secret(tmp_path: Path) -> None:
    path = settings_file(tmp_path, write_example(tmp_path))
    path.write_text(path.read_text().replace("a-secret-of-some-length", "${NOT_THERE}"))
    settings = load(path, with_sources=False)
    assert settings.sources == {}
    assert set(settings.providers) == {*catalogue(), "acme"}


def test_the_providers_are_known_without_the_rest_of_the_settings(tmp_path: Path) -> None:
    path = settings_file(tmp_path, write_example(tmp_path))
    path.write_text(path.read_text() + "[broker]\nurl = '${NOT_THERE}'\n")
    assert set(load_providers(path)) == {*catalogue(), "acme"}


def test_an_event_of_a_provider_from_outside_is_normalised(tmp_path: Path) -> None:
    provider = load(settings_file(tmp_path, write_example(tmp_path)), with_sources=True).providers["acme"]
    envelope = seal(
        provider.identify(Request(BODY)),
        BODY,
        provider=provider.name,
        source="s0",
        content_type="application/json",
        received_at=moment(1_700_000_001),
    )
    (event,) = normaliser({"acme": provider})(envelope)
    assert (type(event), event.provider, event.provider_type) == (RoomCreated, "acme", "opened")
    with pytest.raises(Unreadable, match="no provider 'acme' is installed here"):
        normaliser(catalogue())(envelope)


@pytest.mark.parametrize(("reference", "text", "said"), WRONG.values(), ids=WRONG)
@pytest.mark.parametrize("with_sources", [True, False], ids=["for the ingress", "for a worker"])
def test_an_error_about_a_reference_names_the_key(
    tmp_path: Path, reference: str, text: str, said: str, *, with_sources: bool
) -> None:
    module(tmp_path, text)
    path = settings_file(tmp_path, reference)
    expected = said.replace("FOLDER", str(tmp_path.resolve()))
    assert refusal(path, with_sources=with_sources).startswith(f"sources.s0.provider: {expected}")


def test_two_providers_from_outside_cannot_have_one_name(tmp_path: Path) -> None:
    module(tmp_path, MODULE + "A = replace(krtc.PROVIDER, name='acme')\nB = replace(A, title='B')\n")
    said = refusal(settings_file(tmp_path, "mine:A", "mine:B"))
    assert said == "sources.s1.provider: the provider's name 'acme' is also that of mine:A"


def test_a_module_without_a_colon_is_no_reference(tmp_path: Path) -> None:
    said = refusal(settings_file(tmp_path, "acme_rtc.hookline"))
    assert said.startswith("sources.s0.provider: 'acme_rtc.hookline' is not known; there are ")
    assert said.endswith('and your own as "package.module:NAME"')
