"""A provider is one module and one folder of vectors, and imports point inwards."""

import ast
import pkgutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import schemas.providers
from schemas.providers import catalogue
from schemas.topics import NAME
from tests.vector_cases import FOLDER, all_vectors

ROOT = Path(__file__).parent.parent
PACKAGES = ("schemas", "ingress", "broker", "workers", "hookline")
ALLOWED = {
    "schemas": {"schemas"},
    "ingress": {"ingress", "schemas"},
    "broker": {"broker", "schemas"},
    "workers": {"workers", "schemas"},
    "hookline": set(PACKAGES),
}
IMPURE = {"asyncio", "os", "time", "socket", "random", "secrets", "subprocess", "threading", "pathlib", "ssl", "http"}
MODULES = [
    pytest.param(package, path, id=str(path.relative_to(ROOT)))
    for package in PACKAGES
    for path in sorted((ROOT / package).rglob("*.py"))
]


def imported(path: Path) -> Iterator[str]:
    """The top-level packages that a module imports, also within functions and for type checks alone."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports name their package"
            yield (node.module or "").partition(".")[0]


def module_names() -> set[str]:
    return {module.name for module in pkgutil.iter_modules(schemas.providers.__path__)}


def test_every_module_is_a_provider_of_its_name() -> None:
    assert module_names() == set(catalogue())


def test_every_provider_has_a_folder_of_vectors_and_every_folder_a_provider() -> None:
    assert {folder.name for folder in FOLDER.iterdir() if folder.is_dir()} == set(catalogue())


def test_every_provider_has_vectors_for_all_its_events() -> None:
    shown = {(vector.provider.name, vector.case.expected.event_type) for vector in all_vectors()}
    promised = {(provider.name, topic) for provider in catalogue().values() for topic in provider.types.values()}
    assert promised <= shown


def test_every_provider_has_a_vector_of_a_type_that_nobody_knows() -> None:
    types = {(vector.provider.name, vector.case.expected.event_type.partition(".")[0]) for vector in all_vectors()}
    assert {(name, "unknown") for name in catalogue()} <= types


def test_every_folder_of_vectors_says_where_they_come_from() -> None:
    for name in catalogue():
        said = (FOLDER / name / "README.md").read_text(encoding="utf-8")
        cases = [vector.name for vector in all_vectors() if vector.provider.name == name]
        assert [case for case in cases if case not in said] == []


def test_names_fit_into_topics_and_urls() -> None:
    names = [name for provider in catalogue().values() for name in (provider.name, provider.example.source)]
    assert [name for name in names if not NAME.fullmatch(name)] == []


def test_no_two_examples_share_a_url() -> None:
    sources = [provider.example.source for provider in catalogue().values()]
    assert len(set(sources)) == len(sources)


def test_every_vector_is_sent_to_the_url_of_the_example() -> None:
    for vector in all_vectors():
        target = vector.raw.partition(b"\r\n")[0].split(b" ")[1].partition(b"?")[0]
        assert target.decode() == f"/hooks/{vector.provider.example.source}"


def test_every_vector_declares_the_length_of_its_body() -> None:
    for vector in all_vectors():
        assert vector.request.headers.getall("content-length", ()) == [str(len(vector.request.body))]


@pytest.mark.parametrize(("package", "path"), MODULES)
def test_imports_point_inwards(package: str, path: Path) -> None:
    ours = set(imported(path)) & {*PACKAGES, "tests"}
    assert ours <= ALLOWED[package]


@pytest.mark.parametrize(("package", "path"), [case for case in MODULES if case.values[0] == "schemas"])
def test_schemas_is_pure(package: str, path: Path) -> None:
    outside = set(imported(path)) - {"schemas", "msgspec"}
    assert outside <= set(sys.stdlib_module_names) - IMPURE


def test_no_test_lists_the_providers_by_hand() -> None:
    general = ("test_vectors", "test_providers", "test_hostile_bytes", "test_catalogue", "vector_cases")
    for module in general:
        text = (ROOT / "tests" / f"{module}.py").read_text(encoding="utf-8")
        assert [name for name in catalogue() if name in text] == []
