"""The lock files of the Dockerfile have what pyproject.toml asks for, each package with its hashes."""

import re
import tomllib
from collections.abc import Iterable
from importlib.metadata import requires

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.packaging.builds import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
EXTRAS = PROJECT["project"]["optional-dependencies"]
ASKED = {
    "requirements.lock": [*PROJECT["project"]["dependencies"], *EXTRAS["redis"], *EXTRAS["postgresql"]],
    "build.lock": PROJECT["build-system"]["requires"],
}
ENTRY = re.compile(
    r"^([A-Za-z0-9._-]+)==(\S+)(?: ;[^\\\n]*)? \\\n((?: {4}--hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", re.MULTILINE
)


def text(name: str) -> str:
    return (ROOT / "deploy" / name).read_text(encoding="utf-8")


def locked(name: str) -> dict[str, str]:
    """The version of each package in a lock file."""
    return {canonicalize_name(entry[1]): entry[2] for entry in ENTRY.finditer(text(name))}


def needed(asked: Iterable[Requirement]) -> list[Requirement]:
    """What these requirements need here, and what that needs, and so on."""
    found: list[Requirement] = []
    waiting, seen = list(asked), set()
    while waiting:
        requirement = waiting.pop()
        extras = requirement.extras or {""}
        if str(requirement) in seen:
            continue
        seen.add(str(requirement))
        found.append(requirement)
        inner = map(Requirement, requires(requirement.name) or ())
        waiting += [each for each in inner if applies(each, extras)]
    return found


def applies(requirement: Requirement, extras: Iterable[str]) -> bool:
    return requirement.marker is None or any(requirement.marker.evaluate({"extra": extra}) for extra in extras)


@pytest.mark.parametrize("name", ASKED)
def test_the_lock_allows_what_is_asked_for_and_what_that_needs(name: str) -> None:
    versions = locked(name)
    for requirement in needed(each for each in map(Requirement, ASKED[name]) if applies(each, {""})):
        version = versions.get(canonicalize_name(requirement.name))
        assert version is not None, f"{requirement} is not locked: run `make lock`"
        assert requirement.specifier.contains(version), f"{requirement} is locked at {version}: run `make lock`"


@pytest.mark.parametrize("name", ASKED)
def test_everything_in_the_lock_has_its_version_and_hashes(name: str) -> None:
    without_comments = re.sub(r"^#.*\n", "", text(name), flags=re.MULTILINE)
    assert ENTRY.sub("", without_comments) == ""


@pytest.mark.parametrize("name", ASKED)
def test_the_lock_names_no_index(name: str) -> None:
    assert "://" not in text(name)
    assert "index" not in text(name)
