"""The commands of the pages: a test runs those of the tour, and each of the others is checked here."""

import importlib.util
import re
import shlex
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import click
import msgspec
import pytest

from docs.reference_pages import subcommands
from hookline import events
from hookline.cli.main import cli
from hookline.schemas.providers import catalogue
from hookline.settings_sections import SECTIONS, SourceSettings
from tests.docs.pages import PAGES, README, ROOT, Block, all_blocks

PROJECT: Mapping[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS: Mapping[str, list[str]] = PROJECT["optional-dependencies"]
OTHER_PACKAGES = {"pytest", "pytest-asyncio", "standardwebhooks", "pre-commit"}
"""What pages install beside Hookline: for the reader's own tests, and for the other end of an example."""
TARGETS = re.findall(
    r"(?m)^([\w./-]+):", (ROOT / "Makefile").read_text(encoding="utf-8").replace("$(STAMP)", ".venv/.installed")
)
SERVICES = re.findall(r"(?m)^  ([\w-]+):$", (ROOT / "compose.yaml").read_text(encoding="utf-8"))

_ASSIGNMENT = re.compile(r"[A-Z0-9_]+=.*")
_WHEEL = re.compile(r"\S+/hookline-(?P<version>[\d.]+)-py3-none-any\.whl(?:\[(?P<extras>[\w,]+)\])?")
_FROM_GIT = re.compile(r"hookline(?:\[(?P<extras>[\w,]+)\])? @ git\+https://\S+")


def commands(script: str) -> Iterator[list[str]]:
    """The commands of a script as words, without comments and leading assignments of variables."""
    for line in script.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        while words and _ASSIGNMENT.fullmatch(words[0]):
            words = words[1:]
        if words:
            yield words


def check_hookline(words: Sequence[str]) -> None:
    """Fails unless `hookline` accepts these words."""
    command: click.Command = cli
    rest, name = list(words), "hookline"
    parent = click.Context(cli, help_option_names=cli.context_settings["help_option_names"])  # a command keeps them
    while isinstance(command, click.Group):
        name = rest.pop(0)
        command = subcommands(command)[name]
    try:
        command.make_context(name, rest, parent=parent).close()  # closes the files that it names
    except click.ClickException as error:
        pytest.fail(f"hookline {' '.join(words)}: {error.format_message()}")


def check_make(words: Sequence[str]) -> None:
    targets = [word for word in words if not _ASSIGNMENT.fullmatch(word)]
    assert targets
    assert set(targets) <= set(TARGETS), f"the Makefile has no such target: {targets}"


def check_pip(words: Sequence[str]) -> None:
    """Fails for a package that we do not use, and for `hookline` without a place: it is on no public index."""
    assert words[0] == "install"
    ours = {requirement for extra in EXTRAS.values() for requirement in extra}
    for word in (word for word in words[1:] if not word.startswith("-")):
        place = _WHEEL.fullmatch(word) or _FROM_GIT.fullmatch(word) or re.fullmatch(r"\.\[(?P<extras>[\w,]+)\]", word)
        if place is None:
            assert word in ours | OTHER_PACKAGES, word
        else:
            assert set((place["extras"] or "reload").split(",")) <= set(EXTRAS), word
            assert place.groupdict().get("version", PROJECT["version"]) == PROJECT["version"], word


def check_python(words: Sequence[str]) -> None:
    """Fails unless the module, or the file, exists."""
    if list(words[:2]) == ["-m", "pytest"]:
        check_pytest(words[2:])
    elif words[0] == "-m":
        assert importlib.util.find_spec(words[1]) is not None, words[1]
    else:
        check_file(words)


def check_file(words: Sequence[str]) -> None:
    assert (ROOT / words[0]).is_file(), f"there is no file {words[0]}"


def check_docker(words: Sequence[str]) -> None:
    match list(words):
        case ["compose", *rest]:
            check_compose(rest)
        case ["build", "-t", "hookline", "."]:
            check_file(["Dockerfile"])
        case ["run", *rest]:
            check_hookline(rest[rest.index("hookline") + 1 :])
        case _:
            pytest.fail(f"docker {' '.join(words)}")


def check_compose(words: Sequence[str]) -> None:
    scaled = [word.partition("=")[0] for word, before in zip(words[1:], words, strict=False) if before == "--scale"]
    assert set(scaled) <= set(SERVICES)
    match list(words):
        case ["exec", service, "hookline", *rest]:
            assert service in SERVICES
            check_hookline(rest)
        case ["run", "--rm", "operator", *rest]:
            check_hookline(rest)
        case ["run", "--rm", service]:
            assert service in SERVICES
        case ["--profile", "metrics", *rest]:
            check_compose(rest)
        case _:
            assert words[0] in ("build", "up")


def check_kubectl(words: Sequence[str]) -> None:
    """Fails unless the file or folder that is applied exists."""
    for option, path in pairwise(words):
        assert option not in ("-f", "-k") or (ROOT / path).exists(), path


def check_install(words: Sequence[str]) -> None:
    """Fails unless the files of ours that are installed exist."""
    for word in words:
        assert not word.startswith("deploy/") or (ROOT / word).is_file(), word


def check_activation(words: Sequence[str]) -> None:
    assert words == [".venv/bin/activate"]


def check_pytest(words: Sequence[str]) -> None:
    """Fails unless each file or folder of tests exists, here or beside the examples."""
    named = [word.partition("::")[0] for word in words if word.startswith("tests/") or ".py" in word]
    folders = (ROOT, ROOT / "docs/examples")
    assert [name for name in named if not any((folder / name).exists() for folder in folders)] == []


def check_nothing(words: Sequence[str]) -> None:
    """The program and its arguments are not ours."""


CHECKS: Mapping[str, Callable[[Sequence[str]], None]] = {
    ".": check_activation,
    "cloudflared": check_nothing,
    "docker": check_docker,
    "echo": check_nothing,
    "export": check_nothing,
    "git": check_nothing,
    "hookline": check_hookline,
    "install": check_install,
    "journalctl": check_nothing,
    "kubectl": check_kubectl,
    "make": check_make,
    "mkdir": check_nothing,
    "/opt/hookline/bin/pip": check_pip,
    "pg_dump": check_nothing,
    "ngrok": check_nothing,
    "pip": check_pip,
    "pre-commit": check_nothing,
    "psql": check_nothing,
    "pytest": check_pytest,
    "python": check_python,
    "python3": check_python,
    "rabbitmq-queues": check_nothing,  # tests/deployment runs those of the page about clusters
    "rabbitmq-upgrade": check_nothing,
    "rabbitmqctl": check_nothing,
    "sqlite3": check_nothing,
    "systemctl": check_nothing,
}


@pytest.mark.parametrize("block", [b for b in all_blocks("sh") if b.marker != "tour"], ids=str)
def test_each_command_of_a_page_is_one_that_exists(block: Block) -> None:
    for program, *words in commands(block.text):
        assert program in CHECKS, f"{program}: say in CHECKS how to check it"
        CHECKS[program](words)


def helps(name: str, command: click.Command) -> Iterator[tuple[str, str]]:
    """Each command with the examples of its help, which the reference shows, too."""
    yield name, command.epilog or ""
    if isinstance(command, click.Group):
        for word, below in subcommands(command).items():
            yield from helps(f"{name} {word}", below)


@pytest.mark.parametrize(
    ("name", "epilog"), [*helps("hookline", cli)], ids=lambda text: text if "\n" not in text else "help"
)
def test_each_example_in_the_help_of_a_command_is_one_that_exists(
    name: str, epilog: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for file in ("callback.json", "callback.http"):
        (tmp_path / file).touch()
    (tmp_path / "providers").mkdir()
    lines = [re.split(r" {2,}| [|<>] ", line.strip())[0] for line in epilog.splitlines()]
    examples = [line for line in lines if line not in ("", "\b", "Examples:")]
    assert any(example.startswith(name) for example in examples)
    for example in examples:
        program, *words = shlex.split(example)
        CHECKS[program](words)


def test_no_page_and_no_message_installs_hookline_by_its_name_from_an_index() -> None:
    folders = ("hookline", "schemas", "ingress", "broker", "workers", "benchmarks")
    sources = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    found = [
        f"{path.relative_to(ROOT)}: {line}"
        for path in (*PAGES, *sources)
        for line in path.read_text(encoding="utf-8").splitlines()
        if re.search(r"pip install '?hookline(?!\S* @ git)", line)
    ]
    assert found == []


def test_libraries_that_a_page_names_have_the_ranges_of_the_extras() -> None:
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    named = re.findall(r"pip install '((?:redis|psycopg|watchfiles)[^']*)'", text)
    assert {*EXTRAS["redis"], *EXTRAS["postgresql"], *EXTRAS["reload"]} == set(named)


@pytest.mark.parametrize("block", [b for b in all_blocks("python") if b.page == "README.md"], ids=str)
def test_python_of_readme_runs(block: Block) -> None:
    scope: dict[str, Any] = {}
    exec(f"from hookline import *\nfrom {events.__name__} import *\n{block.text}", scope)  # noqa: S102  our own text


@pytest.mark.parametrize("block", all_blocks("toml"), ids=str)
def test_settings_of_a_page_exist_and_have_values_that_are_allowed(block: Block) -> None:
    settings = tomllib.loads(block.text)
    tables = [(table, keys(SECTIONS[name])) for name, table in settings.items() if name != "sources"]
    for table in settings.get("sources", {}).values():
        provider = catalogue().get(table.pop("provider"))
        tables.append((table, keys(SourceSettings) | (keys(provider.account) if provider else {})))
    for table, known in tables:
        assert set(table) <= set(known)
        for key, value in table.items():
            msgspec.convert(value, known[key])


def keys(kind: type[msgspec.Struct]) -> dict[str, Any]:
    """The keys with the types of their values."""
    return {field.encode_name: field.type for field in msgspec.structs.fields(kind)}


def test_every_block_of_the_tour_is_marked_as_one_that_the_tests_follow() -> None:
    tour = README.read_text(encoding="utf-8").partition("## A five-minute tour")[2].partition("\n## ")[0]
    fences = re.findall(r"(?m)^(.*)\n```(?:sh|python|toml)$", tour)
    assert len(fences) == 8
    assert [line for line in fences if not line.startswith("<!-- tour")] == []
