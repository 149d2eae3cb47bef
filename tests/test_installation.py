"""Which store the URL in the settings opens, and the message if it cannot be opened."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hookline.runtime.installation import Installation, sqlite_path
from hookline.schemas.errors import SettingsError, Unreachable
from hookline.settings import Settings, load
from hookline.workers.stores.postgresql.store import PostgresqlStore
from hookline.workers.stores.redis.store import RedisStore
from hookline.workers.stores.sqlite.store import SqliteStore
from tests.services import postgresql, redis


def with_store(tmp_path: Path, url: str) -> Settings:
    path = tmp_path / "hookline.toml"
    path.write_text(f'[store]\nurl = "{url}"\ntimeout_s = 2\n')
    return load(path, with_sources=False)


@pytest.mark.parametrize("kind", [SqliteStore, RedisStore, PostgresqlStore])
async def test_the_url_selects_the_store(tmp_path: Path, pytestconfig: pytest.Config, kind: type) -> None:
    urls: dict[type, Callable[[], str]] = {
        SqliteStore: lambda: "sqlite:store.db",
        RedisStore: lambda: redis.server_url(pytestconfig),
        PostgresqlStore: lambda: postgresql.server_url(pytestconfig),
    }
    async with Installation(with_store(tmp_path, urls[kind]())) as installation:
        assert isinstance(await installation.store(), kind)
        assert await (await installation.event_log()).get("unknown") is None


@pytest.mark.parametrize(
    ("scheme", "extra", "library"),
    [
        pytest.param("redis", "redis", "redis", id="Redis"),
        pytest.param("postgres", "postgresql", "psycopg", id="PostgreSQL"),
    ],
)
async def test_a_missing_library_is_named_with_the_command_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str, extra: str, library: str
) -> None:
    for module in [name for name in sys.modules if name.startswith((library, f"hookline.workers.stores.{extra}"))]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, library, None)
    async with Installation(with_store(tmp_path, f"{scheme}://user:secret@127.0.0.1:1/x")) as installation:
        for opened in (installation.store, installation.event_log):
            with pytest.raises(SettingsError, match=rf"store\.url: .* needs a library: pip install '{library}[^']*>="):
                await opened()


def test_a_file_name_to_which_sqlite_cannot_add_is_refused(tmp_path: Path) -> None:
    settings = with_store(tmp_path, "sqlite:store.db")
    assert sqlite_path(settings, f"sqlite:{'x' * 247}").name == "x" * 247
    for name in ("x" * 248, "房" * 83, "x" * 300):
        with pytest.raises(SettingsError, match=r"cannot be opened: its name has more than 247 bytes"):
            sqlite_path(settings, f"sqlite:{name}")


def test_a_link_that_leads_back_to_itself_is_refused(tmp_path: Path) -> None:
    (tmp_path / "first.db").symlink_to("second.db")
    (tmp_path / "second.db").symlink_to("first.db")
    with pytest.raises(SettingsError, match="it is a link that leads back to itself"):
        sqlite_path(with_store(tmp_path, "sqlite:store.db"), "sqlite:first.db")


def test_a_store_of_an_unknown_kind_is_refused_with_the_file_and_without_the_url(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as refused:
        with_store(tmp_path, "mysql://user:secret@host/database")
    assert str(refused.value).endswith(
        'hookline.toml: store.url: expected "sqlite:FILE", "redis://…" or "postgresql://…"'
    )
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("scheme", ["redis", "postgresql"])
async def test_a_server_that_does_not_run_is_unreachable(tmp_path: Path, scheme: str) -> None:
    async with Installation(with_store(tmp_path, f"{scheme}://user:secret@127.0.0.1:1/0")) as installation:
        for opened in (installation.store, installation.event_log):
            with pytest.raises(Unreachable) as raised:
                await opened()
            assert "secret" not in str(raised.value)
