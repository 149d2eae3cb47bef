"""What a provider declares as data has its effect in the settings: addresses, re-sends, the form of its secrets."""

from pathlib import Path

import pytest

from hookline.schemas.errors import SettingsError
from hookline.settings import Settings, load

ADDRESSES = ["198.51.100.7/32", "203.0.113.0/24"]
MODULE = """
import base64, binascii
from dataclasses import replace
from hookline.provider import Key
from hookline.schemas.providers.krtc import PROVIDER as KRTC

PROVIDER = replace(KRTC, name="acme", title="Acme RTC", {declared})
"""


def loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, declared: str, source: str, rest: str = "") -> Settings:
    """Settings with one source of a provider that declares this."""
    name = f"acme_{abs(hash((declared, str(tmp_path))))}"
    (tmp_path / f"{name}.py").write_text(MODULE.format(declared=declared))
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "hookline.toml"
    path.write_text(f"[sources.a]\nprovider = '{name}:PROVIDER'\n{source}\n{rest}")
    return load(path, with_sources=True)


SECRET = "secrets = ['a-secret-of-some-length']"


def test_the_providers_own_addresses_are_allowed_by_a_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = f"{SECRET}\nallow_from = ['10.0.0.0/8', 'provider']"
    source = loaded(tmp_path, monkeypatch, f"addresses={ADDRESSES!r}", text).sources["a"]
    assert [str(network) for network in source.allow_from] == ["10.0.0.0/8", *ADDRESSES]


def test_a_provider_without_a_list_cannot_be_allowed_by_a_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match=r" sources\.a\.allow_from: Acme RTC publishes no list of addresses"):
        loaded(tmp_path, monkeypatch, "", f"{SECRET}\nallow_from = ['provider']")


@pytest.mark.parametrize(("ttl_s", "warned"), [(86_399, True), (86_400, False), (None, False)])
def test_a_store_that_forgets_before_the_last_re_send_is_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ttl_s: int | None, *, warned: bool
) -> None:
    rest = "" if ttl_s is None else f"[store]\nttl_s = {ttl_s}\n"
    warnings = loaded(tmp_path, monkeypatch, "resends_for_s=24 * 3600", SECRET, rest).warnings
    assert [warning.partition(":")[0] for warning in warnings] == (["store.ttl_s"] if warned else [])


def test_the_default_store_is_warned_of_where_a_provider_replays_a_month(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (warning,) = loaded(tmp_path, monkeypatch, "resends_for_s=31 * 24 * 3600", SECRET).warnings
    assert warning.startswith("store.ttl_s: 604,800 s is shorter than Acme RTC may send an event again (2,678,400 s)")


def test_a_secret_of_another_form_stops_the_start_and_is_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    declared = "key=lambda secret: Key(base64.b64decode(secret, validate=True))"
    with pytest.raises(SettingsError, match="does not have the form") as raised:
        loaded(tmp_path, monkeypatch, declared, "secrets = ['no base64 at all!']")
    assert "no base64" not in str(raised.value)
    source = loaded(tmp_path, monkeypatch, declared, "secrets = ['YS1zZWNyZXQtb2Ytc29tZS1sZW5ndGg=']").sources["a"]
    assert source.keys == (b"a-secret-of-some-length",)


def test_a_secret_that_becomes_an_empty_key_stops_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match="one is empty"):
        loaded(tmp_path, monkeypatch, "key=lambda secret: Key(b'')", SECRET)


@pytest.mark.parametrize("url", ["https://hooks.example.com/in?a=1", "http://user:pw@example.com:8443/x", ""])
def test_a_source_may_name_its_public_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    source = loaded(tmp_path, monkeypatch, "", f"{SECRET}\npublic_url = '{url}'").sources["a"]
    assert source.public_url == url


@pytest.mark.parametrize("url", ["hooks.example.com", "ftp://example.com/", "https:///path", "https://e.com/#part"])
def test_a_public_url_that_cannot_be_one_stops_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    with pytest.raises(SettingsError, match=r" sources\.a\.public_url: expected the URL"):
        loaded(tmp_path, monkeypatch, "", f"{SECRET}\npublic_url = '{url}'")
