"""`hookline new-provider`: what it writes works before anybody has filled anything in."""

import ast
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner

from hookline.cli.main import cli
from hookline.schemas.errors import SettingsError
from hookline.settings import load

ROOT = Path(__file__).parent.parent
COPIED = ("hookline", "schemas", "ingress", "workers", "broker", "docs")
"""The packages behind the links, and what the general tests of providers import."""
FILLED_IN = {
    "test_every_byte_of_the_body_counts",
    "test_a_re_send_has_the_same_id",
    "test_another_event_that_looks_alike_has_another_id",
    "test_a_callback_about_a_user_names_one",
}
"""The tests that the guide's example has filled in with its own fields."""
GENERAL_TESTS = ("test_vectors.py", "test_providers.py", "test_catalogue.py")


def written(name: str, folder: Path) -> list[Path]:
    done = CliRunner().invoke(cli, ["new-provider", name, "--folder", str(folder)], catch_exceptions=False)
    assert done.exit_code == 0
    return [Path(line.removeprefix("wrote ")) for line in done.output.splitlines() if line.startswith("wrote ")]


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "vectors").touch()
    command = [sys.executable, "-m", "hookline", "new-provider", "acme", "--folder", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    assert (done.returncode, done.stderr.splitlines()) == (
        1,
        [f"hookline: {tmp_path / 'vectors/acme'}: Not a directory"],
    )


def run_tests(folder: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)  # noqa: S603
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def lint(paths: Sequence[Path]) -> None:
    modules = [str(path) for path in paths if path.suffix == ".py"]
    for command in (["check", "--select", "E,F,W,I,UP,B"], ["format", "--check"]):
        done = subprocess.run(  # noqa: S603
            [sys.executable, "-m", "ruff", *command, "--config", str(ROOT / "pyproject.toml"), *modules],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", ["acme-rtc", "9lives"])
def test_the_tests_of_a_new_provider_of_your_own_pass(name: str, tmp_path: Path) -> None:
    paths = written(name, tmp_path)
    assert all(path.is_file() for path in paths)
    assert "passed" in run_tests(tmp_path, "-o", "asyncio_default_fixture_loop_scope=function")


def test_the_settings_can_name_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written("acme-settings", tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    config = tmp_path / "hookline.toml"
    config.write_text("[sources.a]\nprovider = 'acme_settings:PROVIDER'\nsecrets = ['a-secret-of-some-length']\n")
    assert load(config, with_sources=True).sources["a"].provider.name == "acme-settings"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what a provider and its tests need, with no other provider: the general tests take long for all."""
    for name in COPIED:
        shutil.copytree(ROOT / name, tmp_path / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    providers = tmp_path / "schemas" / "providers"
    for path in providers.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != "__init__.py":
            path.unlink()
    (tmp_path / "tests" / "vectors").mkdir(parents=True)
    (tmp_path / "tests" / "providers").mkdir()
    shutil.copy(ROOT / "tests" / "providers" / "bodies.py", tmp_path / "tests" / "providers")
    for path in (ROOT / "tests").glob("*.py"):
        shutil.copy(path, tmp_path / "tests")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


@pytest.mark.timeout(300)
def test_the_general_tests_of_a_new_built_in_provider_pass(checkout: Path) -> None:
    paths = written("acme-rtc", checkout)
    lint(paths)
    own = "tests/providers/test_acme_rtc.py"
    assert "passed" in run_tests(
        checkout, *(f"tests/{name}" for name in GENERAL_TESTS), own, "-k", "acme or folder or vector"
    )


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    written("acme", tmp_path)
    (tmp_path / "acme.py").write_text("mine")
    with pytest.raises(SettingsError, match=r"acme\.py exists"):
        written("acme", tmp_path)
    assert (tmp_path / "acme.py").read_text() == "mine"


@pytest.mark.parametrize(("name", "said"), [("Acme RTC", "cannot be a word"), ("krtc", "built-in")])
def test_a_name_that_cannot_be_is_refused(name: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=said):
        written(name, tmp_path)
    assert list(tmp_path.iterdir()) == []


def functions(path: Path) -> dict[str, str]:
    """The functions of a module, without its comments and its layout."""
    module = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name: ast.unparse(node) for node in module.body if isinstance(node, ast.FunctionDef)}


def test_the_example_of_the_guide_has_the_tests_that_the_command_writes(tmp_path: Path) -> None:
    """Both stand in the repository: what is written is text, and the example is read as a file. So they must agree."""
    written("jaas", tmp_path)
    template, example = functions(tmp_path / "test_jaas.py"), functions(ROOT / "docs/examples/jaas/test_jaas.py")
    assert {name for name, text in template.items() if example.get(name) != text} == FILLED_IN
    assert set(example) >= FILLED_IN
