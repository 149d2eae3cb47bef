"""A team's file that shadows a module of Python or of a library is named, and no traceback is shown."""

import subprocess
import sys
from pathlib import Path

import pytest

from hookline.import_errors import optional_libraries
from hookline.schemas.errors import SettingsError


@pytest.mark.parametrize(
    ("file", "module"),
    [
        ("logging.py", "logging of Python"),
        ("string/__init__.py", "string of Python"),
        ("click.py", "click of a library"),
    ],
)
def test_a_file_that_stands_in_for_a_module_is_named(file: str, module: str, tmp_path: Path) -> None:
    path = tmp_path / file
    path.parent.mkdir(exist_ok=True)
    path.touch()
    command = [sys.executable, "-m", "hookline", "status"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)  # noqa: S603  our own command
    named = path.parent if path.name == "__init__.py" else path
    assert done.stderr == (
        f"hookline: {named} shadows the module {module}: rename it, or take its folder off PYTHONPATH\n"
    )
    assert done.returncode == 2


def test_an_extra_is_not_called_missing_if_a_file_stands_in_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "redis.py").touch()
    for name in [name for name in sys.modules if name.partition(".")[0] == "redis"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(SettingsError) as refused, optional_libraries("redis", "store.url: Redis needs a library"):
        import redis.asyncio  # noqa: F401, PLC0415  as the store does
    sys.modules.pop("redis", None)
    assert str(refused.value).startswith(f"{tmp_path / 'redis.py'} shadows the module redis of a library")
