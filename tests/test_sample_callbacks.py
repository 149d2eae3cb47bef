"""Sample callbacks for `hookline send`."""

from pathlib import Path

import pytest

from hookline.cli.sample_callbacks import callbacks_of
from hookline.cli.settings_template import settings_file
from hookline.schemas.providers import catalogue
from hookline.settings import load


@pytest.mark.parametrize("name", [provider.example.source for provider in catalogue().values()])
def test_no_two_calls_make_the_same_callback(tmp_path: Path, name: str) -> None:
    config = tmp_path / "hookline.toml"
    config.write_text(settings_file())
    source = load(config, with_sources=True).sources[name]
    first, second = (
        {callback.body for callback in callbacks_of(source, source.provider.samples, 1000)} for _ in range(2)
    )
    assert len(first | second) == 2000
