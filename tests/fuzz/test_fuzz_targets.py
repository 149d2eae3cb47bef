"""The short form of `make fuzz`: inputs that it kept, genuine ones, and some changes of each."""

import random
from collections.abc import Iterator

import pytest

from hookline.schemas.providers import catalogue
from tests.fuzz.targets import CORPUS, TARGETS, seeds

CHANGES = 120
_PIECES = [
    b"",
    b"\x00",
    b"\xff",
    b'"',
    b"\\u0000",
    b"{",
    b"[",
    b"\n",
    b"\r\n",
    b":",
    b"=",
    b"&",
    b"%",
    b"1e400",
    b"\x1e",
]


def changed(inputs: list[bytes], chance: random.Random) -> Iterator[bytes]:
    for _ in range(CHANGES):
        data = bytearray(chance.choice(inputs))
        for _ in range(chance.randint(1, 4)):
            at = chance.randint(0, len(data))
            data[at : at + chance.choice([0, 1, 1, 2, 30])] = chance.choice(
                [*_PIECES, chance.choice(inputs)[at : at + 9]]
            )
        yield bytes(data)


@pytest.mark.parametrize("target", TARGETS)
def test_a_target_raises_nothing_for_what_was_kept_and_changes_of_it(target: str) -> None:
    inputs = seeds(target)
    assert inputs
    for data in inputs:
        TARGETS[target](data)
    for data in changed(inputs, random.Random(target)):  # noqa: S311  no secret
        TARGETS[target](data)


def test_every_provider_has_a_target() -> None:
    assert {f"callback-{name}" for name in catalogue()} < TARGETS.keys()


def test_inputs_are_kept_for_known_targets_only() -> None:
    assert {path.stem for path in CORPUS.glob("*.txt")} <= TARGETS.keys()
