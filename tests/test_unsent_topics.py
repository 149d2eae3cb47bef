"""A topic that no source of the settings sends is found before its worker has waited in vain."""

from pathlib import Path

import pytest

from hookline import worker
from hookline.events import Event, RoomCreated
from hookline.runtime.unsent_topics import unsent_topics
from hookline.settings import load

SETTINGS = """
[sources.main]
provider = "krtc"
secrets = ["${NOT_SET_ON_A_WORKERS_MACHINE}"]

[sources.voice]
provider = "gme"
"""


@pytest.mark.parametrize(
    ("topic", "sentence"),
    [
        ("krtc.mian.#", "no source sends krtc.mian.#; did you mean krtc.main?"),
        ("zoom.*.room.*", "no source sends zoom.*.room.*; topics begin with krtc.main, gme.voice"),
        ("gme.*.call.*", "gme sends nothing that matches gme.*.call.*; `hookline topics` shows what it sends"),
    ],
)
def test_a_topic_that_nothing_sends_has_a_sentence(tmp_path: Path, topic: str, sentence: str) -> None:
    assert said(tmp_path, topic) == [sentence]


@pytest.mark.parametrize("topic", ["#", "krtc.#", "krtc.main.#", "*.main.room.*", "gme.*.unknown.#", "*.*.call.*"])
def test_a_topic_that_may_come_has_none(tmp_path: Path, topic: str) -> None:
    assert said(tmp_path, topic) == []


def test_settings_without_sources_say_nothing_about_topics(tmp_path: Path) -> None:
    assert said(tmp_path, "zoom.*.room.*", text="") == []


def test_an_event_type_is_sent_by_any_provider(tmp_path: Path) -> None:
    @worker(RoomCreated, queue="billing")
    async def billing(_: RoomCreated) -> None: ...

    (tmp_path / "hookline.toml").write_text(SETTINGS)
    assert list(unsent_topics(billing, load(tmp_path / "hookline.toml", with_sources=False))) == []


def said(folder: Path, topic: str, text: str = SETTINGS) -> list[str]:
    @worker(topic=topic, queue="billing")
    async def billing(_: Event) -> None: ...

    (folder / "hookline.toml").write_text(text)
    return list(unsent_topics(billing, load(folder / "hookline.toml", with_sources=False)))
