"""A wrong setting stops the start with a sentence that names the key, and no text shows a secret."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from hookline.cli.settings_template import settings_file
from hookline.schemas.errors import SettingsError
from hookline.schemas.providers import catalogue
from hookline.settings import Settings, load

KRTC = '[sources.krtc-main]\nprovider = "krtc"\n'
GOOD = KRTC + 'secrets = ["a-secret-of-some-length"]\n'


def loaded(tmp_path: Path, text: str, *, with_sources: bool = True) -> Settings:
    path = tmp_path / "hookline.toml"
    path.write_text(text)
    return load(path, with_sources=with_sources)


def test_a_file_with_one_source_is_enough(tmp_path: Path) -> None:
    settings = loaded(tmp_path, GOOD)
    assert list(settings.sources) == ["krtc-main"]
    assert settings.broker.url == "sqlite:hookline.db"
    assert settings.ingress.port == 8080


def test_an_empty_token_that_stands_in_the_file_is_none(tmp_path: Path) -> None:
    assert loaded(tmp_path, GOOD + '[admin]\ntoken = ""').admin.token == ""


def test_a_fresh_file_loads_and_has_a_source_for_every_provider(tmp_path: Path) -> None:
    settings = loaded(tmp_path, settings_file())
    assert {source.provider.name for source in settings.sources.values()} == set(catalogue())


def test_a_fresh_file_listens_on_this_machine_only(tmp_path: Path) -> None:
    assert loaded(tmp_path, settings_file()).ingress.host == "127.0.0.1"


def test_two_fresh_files_share_no_secret(tmp_path: Path) -> None:
    first, second = loaded(tmp_path, settings_file()), loaded(tmp_path, settings_file())
    keys = [key for settings in (first, second) for source in settings.sources.values() for key in source.keys]
    assert len(set(keys)) == len(keys) == 2 * len(catalogue())


def test_the_documented_example_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KRTC_SECRET", "KRTC_SECRET_OLD", "ROOMKIT_TOKEN"):
        monkeypatch.setenv(name, f"value-of-{name}")
    settings = loaded(
        tmp_path,
        """
        [broker]
        url = "sqlite:hookline.db"
        [ingress]
        host = "0.0.0.0"
        port = 8080
        [store]
        url = "sqlite:hookline.db"
        [sources.krtc-main]
        provider = "krtc"
        secrets = ["${KRTC_SECRET}", "${KRTC_SECRET_OLD}"]
        [sources.meetings]
        provider = "roomkit"
        sdk_app_id = 1400000000
        secrets = ["${ROOMKIT_TOKEN}"]
        tolerance_s = 60
        allow_from = ["203.0.113.0/24"]
        max_body_bytes = 65536
        """,
    )
    assert settings.sources["krtc-main"].keys == (b"value-of-KRTC_SECRET", b"value-of-KRTC_SECRET_OLD")
    meetings = settings.sources["meetings"]
    assert (meetings.tolerance_s, meetings.max_body_bytes, str(meetings.allow_from[0])) == (60, 65536, "203.0.113.0/24")
    assert meetings.account.sdk_app_id == 1400000000


def test_a_part_of_a_value_comes_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMQP_PASSWORD", "p4ss")
    settings = loaded(tmp_path, GOOD + '[broker]\nurl = "amqp://user:${AMQP_PASSWORD}@host/"\n')
    assert settings.broker.url == "amqp://user:p4ss@host/"


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        pytest.param("amqp://u:${SECRET}@h:1/v", "amqp://u:p%40%2F%23%25%3A%20%C3%A9@h:1/v", id="password"),
        pytest.param("amqp://u:${file:secret.txt}@h/", "amqp://u:p%40%2F%23%25%3A%20%C3%A9@h/", id="from a file"),
        pytest.param("amqp://u:p@h/${SECRET}", "amqp://u:p@h/p%40%2F%23%25%3A%20%C3%A9", id="vhost"),
        pytest.param("amqp://u:p@${HOST}/", "amqp://u:p@h:5672/", id="host and port"),
        pytest.param("${URL}", "amqp://u:p@h/v", id="a whole URL"),
        pytest.param("sqlite:${FOLDER}/x.db", "sqlite:/a b/x.db", id="no URL with a host"),
    ],
)
def test_a_value_within_a_url_is_percent_encoded(
    template: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = "p@/#%: é"
    for name, value in {"SECRET": secret, "HOST": "h:5672", "URL": "amqp://u:p@h/v", "FOLDER": "/a b"}.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "secret.txt").write_text(f"{secret}\n", encoding="utf-8")
    assert loaded(tmp_path, f'{GOOD}[broker]\nurl = "{template}"\n').broker.url == expected


def test_the_broker_may_have_several_urls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMQP_PASSWORD", "p@ss")
    settings = loaded(tmp_path, GOOD + '[broker]\nurl = ["amqp://u:${AMQP_PASSWORD}@a/", "amqp://u:x@b/"]\n')
    assert settings.broker.urls == ("amqp://u:p%40ss@a/", "amqp://u:x@b/")


def test_a_value_comes_from_a_file_beside_the_settings_without_its_line_end(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("from-a-file\n")
    settings = loaded(tmp_path, KRTC + 'secrets = ["file:secret.txt"]\n')
    assert settings.sources["krtc-main"].keys == (b"from-a-file",)


def test_a_file_is_utf_8_whatever_the_locale_and_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "hookline.toml").write_text("\ufeff# 金山云\n" + GOOD, encoding="utf-8")
    script = (
        "from pathlib import Path; from hookline.settings import load; load(Path('hookline.toml'), with_sources=True)"
    )
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=environment, check=True)  # noqa: S603  our own script


def test_a_role_without_an_ingress_needs_no_secrets(tmp_path: Path) -> None:
    assert loaded(tmp_path, KRTC + 'secrets = ["${NOT_THERE}"]\n', with_sources=False).sources == {}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("", "sources: there is none", id="empty file"),
        pytest.param(
            GOOD + "[store]\nttl_s = inf", "store.ttl_s: it is not a number of at most 63 bits", id="infinite"
        ),
        pytest.param(GOOD + "[store]\nttl_s = nan", "store.ttl_s: it is not a number of at most 63 bits", id="nan"),
        pytest.param(
            GOOD + "[store]\nttl_s = 1e12", "store.ttl_s: expected a number of at most 3153600000", id="many years"
        ),
        pytest.param(
            GOOD + f"[broker]\nmax_in_flight = {10**30}", "broker.max_in_flight: it is not a number", id="too many bits"
        ),
        pytest.param(
            GOOD + '[tracing]\nendpoint = "http://[x"', "tracing.endpoint: expected the address", id="half an address"
        ),
        pytest.param(
            GOOD + '[sources.half]\nprovider = "krtc"\nsecrets = ["file:/dev/zero"]',
            "sources.half.secrets: /dev/zero cannot be read: it is no regular file",
            id="a device that never ends",
        ),
        pytest.param(
            GOOD + '[sources.half]\nprovider = "krtc"\nsecrets = ["abc"]\npublic_url = "https://[x"',
            "sources.half.public_url: expected the URL",
            id="half a public URL",
        ),
        pytest.param(
            '[sources.x]\nprovder = "krtc"\nsecrets = ["abc"]',
            "sources.x.provder: there is no such setting; did you mean provider?",
            id="a misspelt provider's key",
        ),
        pytest.param("sources = 3", "sources: expected a table, written [sources]", id="sources as a number"),
        pytest.param("[sauces.x]", "sauces: there is no such setting; did you mean sources?", id="unknown table"),
        pytest.param(
            GOOD + "[ingress]\nprot = 1",
            "ingress.prot: there is no such setting; did you mean port?",
            id="unknown setting of a table",
        ),
        pytest.param(
            GOOD + "[ingress]\nport = '80'",
            "ingress.port: expected a whole number, got text in quotes",
            id="text for a number",
        ),
        pytest.param(
            GOOD + "[ingress]\nport = 70000",
            "ingress.port: expected a whole number of at most 65535",
            id="number too large",
        ),
        pytest.param(
            GOOD + "[ingress]\nbody_timeout_s = 0",
            "ingress.body_timeout_s: expected a number of more than 0",
            id="time of zero",
        ),
        pytest.param(
            GOOD + "[history]\nmax_age_s = 5", "history.max_age_s: expected a number of at least 60", id="age too short"
        ),
        pytest.param(
            GOOD + "[broker]\nurl = []", 'broker.url: expected a list such as ["…"] of length at least 1', id="no URL"
        ),
        pytest.param(
            GOOD + "[history]\nmax_bytes = 1000",
            "history.max_bytes: expected a whole number of at least 20971520",
            id="size too small",
        ),
        pytest.param(
            GOOD + "[history]\nenable = true",
            "history.enable: there is no such setting; did you mean enabled?",
            id="unknown setting of the history",
        ),
        pytest.param(
            GOOD + "[spool]\nafter_s = 0", "spool.after_s: expected a number of at least 0.05", id="spool at once"
        ),
        pytest.param(
            GOOD + "[spool]\nmax_bytes = 9",
            "spool.max_bytes: expected a whole number of at least 1048576",
            id="tiny spool",
        ),
        pytest.param(
            GOOD + "[spool]\nmax_age_s = 1", "spool.max_age_s: expected a number of at least 60", id="spool of a second"
        ),
        pytest.param(
            GOOD + "[spool]\nfolder = 'x'", "spool.folder: there is no such setting", id="unknown setting of the spool"
        ),
        pytest.param(
            GOOD + "[ingress]\ntrusted_proxies = ['10.0.0.1/8']",
            "ingress.trusted_proxies: 10.0.0.1/8 is an address in a network; did you mean 10.0.0.0/8?",
            id="proxy with host bits",
        ),
        pytest.param(
            GOOD + "[ingress]\nproxy_protocol = true",
            "ingress.proxy_protocol: trusted_proxies names no proxy that may speak it",
            id="the PROXY protocol without a proxy",
        ),
        pytest.param(
            GOOD + "[ingress]\nproxy_protocol = true\ntrusted_proxies = ['10.0.0.0/8']\ntls_certificate = 'a.pem'",
            "ingress.proxy_protocol: behind a proxy that speaks it, TLS ends at the proxy",
            id="the PROXY protocol with TLS",
        ),
        pytest.param(
            GOOD + "[ingress]\ntls_key = 'a.key'",
            "ingress.tls_key: a key needs a tls_certificate",
            id="a key without certificate",
        ),
        pytest.param(
            GOOD + "[ingress]\nmax_bytes_in_flight = 1000",
            "ingress.max_bytes_in_flight: expected a whole number of at least 1048576",
            id="less than a megabyte in flight",
        ),
        pytest.param(
            GOOD + "max_body_bytes = 1000000\n[ingress]\nmax_bytes_in_flight = 2000000",
            "sources.krtc-main.max_body_bytes: more than 500000, a quarter of ingress.max_bytes_in_flight",
            id="a body for which there is no room",
        ),
        pytest.param(
            GOOD + "secret = 'x'",
            "sources.krtc-main.secret: there is no such setting; did you mean secrets?",
            id="unknown setting of a source",
        ),
        pytest.param(KRTC, "sources.krtc-main.secrets: at least one is needed", id="no secrets"),
        pytest.param(
            KRTC + "secrets = []", "sources.krtc-main.secrets: at least one is needed", id="empty list of secrets"
        ),
        pytest.param(KRTC + "secrets = ['']", "sources.krtc-main.secrets: one is empty", id="empty secret"),
        pytest.param(KRTC + "secrets = ['  ']", "sources.krtc-main.secrets: one is empty", id="blank secret"),
        pytest.param(
            KRTC + "secrets = ['changeme']", "sources.krtc-main.secrets: one is still a placeholder", id="placeholder"
        ),
        pytest.param(
            KRTC + "secrets = 'text'",
            'sources.krtc-main.secrets: expected a list such as ["…"], got text in quotes',
            id="text for a list",
        ),
        pytest.param(
            KRTC + "secrets = ['${NOT_THERE}']",
            "sources.krtc-main.secrets: the environment has no variable NOT_THERE",
            id="missing variable",
        ),
        pytest.param(
            KRTC + "secrets = ['file:not-there']", "sources.krtc-main.secrets: ", id="missing file of a secret"
        ),
        pytest.param(
            GOOD + "allow_from = ['everybody']",
            "sources.krtc-main.allow_from: 'everybody' is no address, such as \"203.0.113.7\"",
            id="word for a network",
        ),
        pytest.param(
            "[sources.x]\nsecrets = ['s']",
            f"sources.x.provider: is missing; there are {', '.join(catalogue())}",
            id="no provider",
        ),
        pytest.param(
            "[sources.x]\nprovider = 'krct'",
            "sources.x.provider: 'krct' is not known; did you mean krtc?",
            id="unknown provider",
        ),
        pytest.param(
            "[sources.Bad]\nprovider = 'krtc'", "sources.Bad: a source's name is", id="invalid name of a source"
        ),
        pytest.param(
            "[sources.x]\nprovider = 'roomkit'\nsecrets = ['s']",
            "sources.x.sdk_app_id: is missing",
            id="missing setting of a provider",
        ),
        pytest.param(
            "[sources.x]\nprovider = 'roomkit'\nsdk_app_id = 1", "sources.x.", id="neither a secret nor none wanted"
        ),
        pytest.param(
            "[sources.x]\nprovider = 'roomkit'\nsdk_app_id = 1\ninsecure_no_signature = true",
            "sources.x.",
            id="unsigned source without addresses",
        ),
        pytest.param(
            "[sources.x]\nprovider = 'netease'\napp_key = ' '\nsecrets = ['s']",
            "sources.x.app_key: it is empty",
            id="blank name of an account",
        ),
        pytest.param(
            "[sources.x]\nprovider = 'livekit'\napi_key = ['a', '']\nsecrets = ['s']",
            "sources.x.api_key: it is empty",
            id="empty name of an account in a list",
        ),
        pytest.param(
            "[sources.x]\nprovider = 'zego'\napp_id = '${EMPTY}'\nsecrets = ['s']",
            "sources.x.app_id: it is empty",
            id="empty variable for an optional check",
        ),
        pytest.param("not toml", "is not TOML", id="text that is not TOML"),
        pytest.param("x = " + "9" * 5000, "it has a number of thousands of digits", id="a number of 5000 digits"),
        pytest.param("x = " + "[" * 3000, "its values are nested too deeply", id="3000 open brackets"),
        pytest.param("[" + ".".join("a" * 3000) + "]", "its values are nested too deeply", id="3000 nested sections"),
        pytest.param(
            GOOD + '[admin]\nhost = "0.0.0.0"',
            'admin.token: it is missing, and others can reach 0.0.0.0; set one, or host = "127.0.0.1"',
            id="an operator's port that everybody may read",
        ),
        *(
            pytest.param(
                GOOD + f"[{section}]\nhost = '{host}'",
                f'{section}.host: expected an address or a name, such as "::1", without scheme, brackets and port',
                id=f"{host} as the host of {section}",
            )
            for section in ("ingress", "admin")
            for host in ("[::1]", "http://127.0.0.1", "127.0.0.1:8080", "localhost:80", "my host")
        ),
        pytest.param(
            GOOD + "[workers]\nlog_errors = 'the text'",
            'workers.log_errors: expected one of "place", "text", "full", got \'the text\'',
            id="a choice of two words that there is not",
        ),
        pytest.param(
            GOOD + "[workers]\nlog_errors = 1",
            "workers.log_errors: expected text in quotes, got a whole number",
            id="a number for a choice without a default",
        ),
        pytest.param(
            GOOD + "[admin]\ntoken = '${EMPTY}'",
            "admin.token: it is empty; remove the key if no token is needed",
            id="empty variable for the operator's token",
        ),
        pytest.param(
            GOOD + "[ingress]\nport = 9464",
            "admin.port: 9464 is also ingress.port; set another one, such as 9465",
            id="one port for both, which is the operator's default",
        ),
        pytest.param(
            GOOD + "[ingress]\nhost = '::\nport = 80",
            "the text there lacks its closing quote",
            id="a quote that is not closed",
        ),
        pytest.param(GOOD + "[ingress]\nhost = “::”", 'a text stands in straight quotes, as in name = "text"', id="“”"),
        pytest.param(GOOD + "[store]\n[store]\n", "this section stands in the file twice", id="a section twice"),
        pytest.param(
            GOOD + "[ingress]\nttl_s = 5",
            "ingress.ttl_s: there is no such setting; it belongs to [store]",
            id="a key of another section",
        ),
        pytest.param(
            GOOD + "[calls]\nprovider = 'krtc'",
            "calls: there is no such setting; a source is written [sources.calls]",
            id="a source outside of sources",
        ),
        pytest.param(
            KRTC + "secrets = ['file:none']",
            "none cannot be read: No such file or directory",
            id="a file that is missing",
        ),
    ],
)
def test_an_error_names_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, expected: str) -> None:
    monkeypatch.setenv("EMPTY", "")
    with pytest.raises(SettingsError) as raised:
        loaded(tmp_path, text)
    assert expected in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("host", ["", " "])
@pytest.mark.parametrize("section", ["ingress", "admin"])
def test_no_host_to_listen_on_is_an_error(tmp_path: Path, section: str, host: str) -> None:
    with pytest.raises(SettingsError, match=rf": {section}\.host: is empty; 0\.0\.0\.0 stands for all addresses"):
        loaded(tmp_path, f"{GOOD}[{section}]\nhost = '{host}'\n")


@pytest.mark.parametrize(
    ("path", "expected"), [("~/x", "~ does not stand for a folder here; write ${HOME}/…"), ("  ", "has only blanks")]
)
@pytest.mark.parametrize("key", ["spool.path", "audit.path", "ingress.tls_certificate"])
def test_a_path_that_means_something_else_is_an_error(tmp_path: Path, key: str, path: str, expected: str) -> None:
    section, _, name = key.partition(".")
    with pytest.raises(SettingsError, match=f": {re.escape(f'{key}: {expected}')}$"):
        loaded(tmp_path, f"{GOOD}[{section}]\n{name} = '{path}'\n")


@pytest.mark.parametrize("host", ["a..b", ".a", "a" * 64, f"b.{'ä' * 60}.example"])
@pytest.mark.parametrize(
    ("section", "setting", "expected"),
    [
        ("ingress", "host = '{}'", "ingress.host: a part of the host's name is empty, or longer"),
        ("admin", "host = '{}'", "admin.host: a part of the host's name is empty, or longer"),
        ("broker", "url = 'amqp://u:p@{}/'", "broker.url: a part of the host's name is empty, or longer"),
        ("broker", "url = ['amqp://h/', 'amqps://{}:1/']", "broker.url: a part of the host's name is empty, or longer"),
        ("broker", "url = 'amqp://h/'\nmanagement_url = 'http://{}/'", "broker.management_url: expected"),
        ("store", "url = 'redis://:p@{}/0'", "store.url: a part of the host's name is empty, or longer"),
        ("store", "url = 'postgresql://h,{}:1/x'", "store.url: a part of the host's name is empty, or longer"),
        ("tracing", "endpoint = 'http://{}/'", "tracing.endpoint: expected"),
    ],
)
def test_a_host_that_no_name_server_can_be_asked_for_is_an_error(
    tmp_path: Path, section: str, setting: str, expected: str, host: str
) -> None:
    with pytest.raises(SettingsError, match=re.escape(f": {expected}")):
        loaded(tmp_path, f"{GOOD}[{section}]\n{setting.format(host)}\n")


@pytest.mark.parametrize(
    ("section", "setting"),
    [
        ("ingress", "host = '::'"),
        ("ingress", "host = 'fe80::1%eth0'"),
        ("ingress", "host = 'hooks.example.'"),
        ("broker", "url = 'amqp://u:p@[::1]:5672/'"),
        ("broker", "url = 'amqp://rabbit_1/'"),
        ("store", f"url = 'postgresql://u:p@{'a' * 40},{'b' * 40}:1/x'"),
        ("store", "url = 'postgresql:///x?host=/run/postgresql'"),
        ("store", "url = 'redis://'"),
    ],
)
def test_a_host_with_another_kind_of_name_is_none(tmp_path: Path, section: str, setting: str) -> None:
    loaded(tmp_path, f"{GOOD}[{section}]\n{setting}\n")


def test_the_error_for_a_missing_file_says_how_to_write_one(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="`hookline init` writes one"):
        load(tmp_path / "hookline.toml", with_sources=True)


def test_roomkit_without_a_token_needs_addresses_and_an_explicit_setting(tmp_path: Path) -> None:
    text = (
        "[sources.x]\nprovider = 'roomkit'\nsdk_app_id = 1\n"
        "insecure_no_signature = true\nallow_from = ['203.0.113.0/24']\n"
    )
    assert loaded(tmp_path, text).sources["x"].keys == ()


def test_settings_show_no_secret(tmp_path: Path) -> None:
    settings = loaded(tmp_path, GOOD)
    assert "a-secret-of-some-length" not in f"{settings!r} {settings} {settings.sources['krtc-main'].keys}"
