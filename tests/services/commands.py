"""Commands that tests run to their end."""

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path


def output_of(
    arguments: Sequence[str | Path],
    *,
    timeout_s: float,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
    user: str | None = None,
) -> str:
    """What the command writes to stdout. Raises AssertionError with all of its output if it fails."""
    done = subprocess.run(  # noqa: S603  programs that the tests name
        arguments,
        cwd=folder,
        env=environment,
        user=user,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    assert done.returncode == 0, f"{' '.join(map(str, arguments))}: {done.stdout}{done.stderr}"
    return done.stdout
