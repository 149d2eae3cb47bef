"""A provider is one module and one folder of vectors."""

import pkgutil
import subprocess
import sys
from pathlib import Path

from hookline.cli.settings_template import source_table
from hookline.schemas import providers
from hookline.schemas.provider import no_sign, topics_of
from hookline.schemas.providers import catalogue, provider_name
from hookline.schemas.topics import NAME
from tests.vector_cases import FOLDER, all_vectors, topic_of

ROOT = Path(__file__).parent.parent


def module_names() -> set[str]:
    return {module.name for module in pkgutil.iter_modules(providers.__path__)}


def test_every_module_is_a_provider_of_its_name() -> None:
    assert len(module_names()) == len(catalogue())
    assert {name: provider.name for name, provider in catalogue().items()} == {name: name for name in catalogue()}


def test_the_catalogue_is_in_alphabetical_order() -> None:
    assert list(catalogue()) == sorted(catalogue())


def test_a_module_may_belong_to_a_name_that_python_does_not_allow() -> None:
    names = [provider_name(module) for module in ("plain", "two_words", "_1st")]
    assert names == ["plain", "two-words", "1st"]


def test_only_the_providers_that_a_settings_file_names_are_loaded(tmp_path: Path) -> None:
    path = tmp_path / "hookline.toml"
    one, *_ = catalogue()
    path.write_text(source_table(catalogue()[one], "a-secret-of-some-length"), encoding="utf-8")
    program = (
        "import sys; from pathlib import Path; from hookline.settings import load;"
        f"load(Path({str(path)!r}), with_sources=True);"
        "print(*(name for name in sys.modules if name.startswith('hookline.schemas.providers.')))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)  # noqa: S603
    assert [name.rpartition(".")[2] for name in done.stdout.split()] == [one]


def test_every_provider_says_what_one_from_outside_may_leave_out() -> None:
    for provider in catalogue().values():
        assert all((provider.types, provider.samples, provider.covers, provider.leaves_open)), provider.name
        assert provider.sign is not no_sign, provider.name


def test_providers_and_folders_of_vectors_match() -> None:
    assert {folder.name for folder in FOLDER.iterdir() if folder.is_dir()} == set(catalogue())


def test_every_provider_has_vectors_for_all_its_events() -> None:
    shown = {(vector.provider.name, topic_of(vector.case.expected.event_type)) for vector in all_vectors()}
    promised = {
        (provider.name, topic)
        for provider in catalogue().values()
        for theirs in provider.types
        for topic in topics_of(provider, theirs)
    }
    assert promised <= shown


def test_every_provider_has_a_vector_of_an_unknown_type() -> None:
    types = {(vector.provider.name, vector.case.expected.event_type.partition(".")[0]) for vector in all_vectors()}
    assert {(name, "unknown") for name in catalogue()} <= types


def test_every_folder_of_vectors_names_their_origin() -> None:
    for name in catalogue():
        text = (FOLDER / name / "README.md").read_text(encoding="utf-8")
        cases = [vector.name for vector in all_vectors() if vector.provider.name == name]
        assert [case for case in cases if case not in text] == []


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


def test_no_test_lists_the_providers_by_hand() -> None:
    general = ("test_vectors", "test_providers", "test_hostile_bytes", "test_catalogue", "vector_cases")
    for module in general:
        text = (ROOT / "tests" / f"{module}.py").read_text(encoding="utf-8")
        assert [name for name in catalogue() if name in text] == []
