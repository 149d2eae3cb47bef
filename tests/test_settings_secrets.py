"""Secrets and addresses that protect nothing stop the start, and those that protect little are warned of."""

import logging
from pathlib import Path

import pytest
from rich.pretty import pretty_repr

from hookline.runtime.logs import log_sources
from hookline.schemas.errors import SettingsError
from hookline.settings import Settings, load

LONG = "a-secret-of-some-length"
TWO_HALVES = "'0.0.0.0/1', '128.0.0.0/1'"
EVERYBODY = [
    pytest.param("'0.0.0.0/0'", id="all of IPv4"),
    pytest.param("'::/0'", id="all of IPv6"),
    pytest.param("'2000::/3'", id="all public IPv6"),
    pytest.param(TWO_HALVES, id="two halves"),
    pytest.param("'2000::/4', '3000::/4'", id="two halves of public IPv6"),
    pytest.param("'203.0.113.0/24', '0.0.0.0/0'", id="one network and all"),
    pytest.param(", ".join(f"'{n}.0.0.0/8'" for n in range(1, 224)), id="many small ones"),
    pytest.param("'::/0', '203.0.113.0/24'", id="all of IPv6 and one network of IPv4"),
]


def krtc(secret: str, rest: str = "") -> str:
    return f"[sources.krtc-main]\nprovider = 'krtc'\nsecrets = ['''{secret}''']\n{rest}"


def roomkit(rest: str) -> str:
    return f"[sources.x]\nprovider = 'roomkit'\nsdk_app_id = 1\n{rest}"


def loaded(tmp_path: Path, text: str) -> Settings:
    path = tmp_path / "hookline.toml"
    path.write_text(text, encoding="utf-8")
    return load(path, with_sources=True)


def fault_of(tmp_path: Path, text: str) -> str:
    with pytest.raises(SettingsError) as raised:
        loaded(tmp_path, text)
    return str(raised.value).removeprefix(f"{tmp_path / 'hookline.toml'}: ")


@pytest.mark.parametrize(
    "secret",
    [
        *("changeme", "CHANGEME", "change-me", "change_me", "ChangeMe123", "<secret>", "<your token here>", "[secret]"),
        *("xxx", "XXXXXXXXXXXXXXXXXXXXXXXX", "****************", "0000000000000000", "…", "...", "---", "_ _"),
        *("{{ secret }}", "{{secret}}", "%SECRET%", "$SECRET", "$(cat secret)", "abc${not-a-name}", "${}"),
        *("todo", "TBD", "FIXME", "secret", "your-secret", "YOUR_SECRET_HERE", "insert secret here", "placeholder"),
        *("password", "example", "replace-me", "secret-goes-here", "null", "None", "undefined", " changeme "),
    ],
)
def test_a_placeholder_stops_the_start(tmp_path: Path, secret: str) -> None:
    assert fault_of(tmp_path, krtc(secret)) == "sources.krtc-main.secrets: one is still a placeholder"


@pytest.mark.parametrize(
    "secret",
    [
        *("\u200b", "\ufeff", "\u200b\u200c\u200d\u2060", "\u00ad", "\u2028\u200b", "\u034f", "\ufe0f", "\U000e0100"),
        *("\u3164", "\u115f\u1160", "\u2800", "\U000e0041", "\u200e \u200f"),
    ],
    ids=ascii,
)
def test_a_secret_that_nobody_can_see_stops_the_start(tmp_path: Path, secret: str) -> None:
    fault = fault_of(tmp_path, krtc(secret))
    assert fault.startswith("sources.krtc-main.secrets: one consists of invisible characters")


@pytest.mark.parametrize("secret", ["", " ", "\t \t", "\u3000\u00a0"], ids=ascii)
def test_a_blank_secret_stops_the_start(tmp_path: Path, secret: str) -> None:
    assert fault_of(tmp_path, krtc(secret)).startswith("sources.krtc-main.secrets: one is empty")


def test_a_secret_of_control_characters_alone_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"\x01\x02\x7f\x00\n")
    assert "invisible" in fault_of(tmp_path, krtc("file:secret"))


def test_no_traceback_shows_a_secret_of_the_settings(tmp_path: Path) -> None:
    path = tmp_path / "hookline.toml"
    path.write_text(
        """
        [broker]
        url = ["amqp://user:canary-of-the-broker@rabbit-1/v", "amqp://user:canary-of-the-broker@rabbit-2/v"]
        management_url = "http://user:canary-of-the-management@rabbit:15672"
        [store]
        url = "postgresql://user:canary-of-the-store@database/hookline"
        [admin]
        token = "canary-of-the-operator"
        [tracing]
        endpoint = "http://user:canary-of-the-collector@collector:4318"
        [sources.krtc-main]
        provider = "krtc"
        secrets = ["canary-of-the-source"]
        """
    )
    settings = load(path, with_sources=True)
    for shown in (repr(settings), pretty_repr(settings), str(settings.sources), f"{settings.admin}"):
        assert "canary" not in shown
    assert repr(settings.admin) == "AdminSettings(host='127.0.0.1', port=9464, token='***', hosts=())"
    assert "url='***'" in repr(settings.store)


@pytest.mark.parametrize("content", [b"", b"\n", b"\r\n", b"\xef\xbb\xbf\n", b"  \n"], ids=repr)
def test_a_file_without_a_secret_stops_the_start(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "secret").write_bytes(content)
    assert fault_of(tmp_path, krtc("file:secret")).startswith("sources.krtc-main.secrets: one is empty")


@pytest.mark.parametrize("before", [b"", b"\xef\xbb\xbf"], ids=["plain", "with a byte order mark"])
@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n", b"\n\n"], ids=repr)
def test_a_secret_in_a_file_is_its_text_without_line_ends(tmp_path: Path, before: bytes, end: bytes) -> None:
    (tmp_path / "secret").write_bytes(before + LONG.encode() + end)
    assert loaded(tmp_path, krtc("file:secret")).sources["krtc-main"].keys == (LONG.encode(),)


def test_two_secrets_in_one_file_stop_the_start(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("the-first-secret-of-all\nthe-second-secret-of-all\n")
    assert "line end" in fault_of(tmp_path, krtc("file:secret"))


def test_a_placeholder_in_the_environment_stops_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KRTC_SECRET", "${KRTC_SECRET}")
    assert "placeholder" in fault_of(tmp_path, krtc("${KRTC_SECRET}"))


@pytest.mark.parametrize("secret", [LONG, "schlüssel-für-die-quelle", "密钥密钥密钥密钥", "a{b}c-d[e]f%g-h$i"])
def test_a_real_secret_is_accepted_without_a_warning(tmp_path: Path, secret: str) -> None:
    assert loaded(tmp_path, krtc(secret)).warnings == ()


def test_a_short_secret_is_warned_of(tmp_path: Path) -> None:
    (warning,) = loaded(tmp_path, krtc("fifteen-letters")).warnings
    assert warning.startswith("sources.krtc-main.secrets: one is shorter than 16 bytes")


def test_a_secret_as_short_as_the_provider_issues_it_is_not_warned_of(tmp_path: Path) -> None:
    netease = "[sources.calls]\nprovider = 'netease'\napp_key = 'k'\nsecrets = ['{}']\n"
    assert loaded(tmp_path, netease.format("0a1b2c3d4e5f")).warnings == ()
    assert len(loaded(tmp_path, netease.format("0a1b2c3d4e5")).warnings) == 1


@pytest.mark.parametrize("secret", [f" {LONG}", f"{LONG} ", f"{LONG}\u200b", f"\ufeff{LONG}"], ids=ascii)
def test_a_blank_or_invisible_part_of_a_secret_is_warned_of(tmp_path: Path, secret: str) -> None:
    (warning,) = loaded(tmp_path, krtc(secret)).warnings
    assert "blank" in warning
    assert LONG not in warning


def test_one_secret_for_two_sources_is_warned_of(tmp_path: Path) -> None:
    other = f"[sources.other]\nprovider = 'krtc'\nsecrets = ['another-secret-of-ours', '{LONG}']\n"
    (warning,) = loaded(tmp_path, krtc(LONG) + other).warnings
    assert warning.startswith("sources.other.secrets: one is also a secret of krtc-main")
    assert LONG not in warning


@pytest.mark.parametrize("networks", EVERYBODY)
def test_addresses_that_name_everybody_are_warned_of(tmp_path: Path, networks: str) -> None:
    (warning,) = loaded(tmp_path, krtc(LONG, f"allow_from = [{networks}]\n")).warnings
    assert warning == "sources.krtc-main.allow_from: it names everybody, so it keeps nobody out"


@pytest.mark.parametrize("networks", EVERYBODY)
def test_a_source_without_a_signature_that_lets_everybody_in_stops_the_start(tmp_path: Path, networks: str) -> None:
    text = roomkit(f"insecure_no_signature = true\nallow_from = [{networks}]\n")
    assert fault_of(tmp_path, text) == (
        "sources.x.allow_from: it names everybody, and without a signature anyone could send"
    )


@pytest.mark.parametrize("networks", EVERYBODY)
def test_proxies_that_name_everybody_are_warned_of(tmp_path: Path, networks: str) -> None:
    (warning,) = loaded(tmp_path, krtc(LONG) + f"[ingress]\ntrusted_proxies = [{networks}]\n").warnings
    assert warning.startswith("ingress.trusted_proxies: they name everybody")


def test_a_source_that_relies_on_addresses_which_any_client_can_claim_stops_the_start(tmp_path: Path) -> None:
    text = roomkit("insecure_no_signature = true\nallow_from = ['203.0.113.0/24']\n")
    fault = fault_of(tmp_path, text + f"[ingress]\ntrusted_proxies = [{TWO_HALVES}]\n")
    assert fault.startswith("sources.x.allow_from: ingress.trusted_proxies names everybody")


@pytest.mark.parametrize(
    "networks", ["'203.0.113.0/24'", "'10.0.0.0/8', '192.168.0.0/16', 'fc00::/7'", "'2001:db8::/32', '0.0.0.0/2'"]
)
def test_networks_of_some_are_not_warned_of(tmp_path: Path, networks: str) -> None:
    text = krtc(LONG, f"allow_from = [{networks}]\n") + f"[ingress]\ntrusted_proxies = [{networks}]\n"
    assert loaded(tmp_path, text).warnings == ()


def test_the_start_logs_what_it_warns_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    settings = loaded(tmp_path, krtc("fifteen-letters"))
    with caplog.at_level(logging.WARNING, logger="hookline"):
        log_sources(settings)
    assert [record.getMessage() for record in caplog.records] == list(settings.warnings)


def test_requests_that_are_kept_whole_are_warned_of(tmp_path: Path) -> None:
    (warning,) = loaded(tmp_path, krtc(LONG) + "[audit]\nrequests = true\n").warnings
    assert warning.startswith("audit.requests: refused requests are kept with their signatures")
