"""Fuzzes each target for a share of the time: `python -m tests.fuzz MINUTES [TARGET…]`.

Needs the extra `fuzz`. Inputs that reach new code are kept, the smallest ones, in corpus/. A finding ends the run of
its target: the end of its traceback is printed, and its input is written to findings/.
"""

import subprocess
import sys
import tempfile
from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path

from tests.fuzz.targets import CORPUS, TARGETS, kept, seeds

FINDINGS = Path(__file__).parent / "findings"
MAX_KEPT = 40
MAX_KEPT_BYTES = 1024


def main() -> int:
    FINDINGS.mkdir(exist_ok=True)
    minutes, names = float(sys.argv[1]), sys.argv[2:] or list(TARGETS)
    seconds = max(2, int(minutes * 60 / len(names)))
    failed = [name for name in names if not _fuzz(name, seconds)]
    sys.stdout.write(f"Findings: {', '.join(failed) or 'none'}\n")
    return int(bool(failed))


def _fuzz(name: str, seconds: int) -> bool:
    """Fuzz one target in a process of its own, since the fuzzer ends it; whether there was no finding."""
    with tempfile.TemporaryDirectory() as folder:
        known, found = Path(folder, "known"), Path(folder, "found")
        known.mkdir()
        found.mkdir()
        for number, seed in enumerate(seeds(name)):
            (known / str(number)).write_bytes(seed)
        sys.stdout.write(f"{name}: {seconds} s\n")
        sys.stdout.flush()
        good = _run(name, found, str(known), f"-max_total_time={seconds}", f"-artifact_prefix={FINDINGS}/{name}-")
        _keep(name, [path.read_bytes() for path in found.iterdir()])
        return good


def _run(name: str, corpus: Path, *options: str) -> bool:
    command = [sys.executable, "-m", "tests.fuzz.libfuzzer", name, str(corpus), *options]
    ended = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603  ourselves
    lines = ended.stderr.splitlines()
    sys.stdout.write("\n".join(lines[-1:] if ended.returncode == 0 else lines[-40:]) + "\n")
    return ended.returncode == 0


def _keep(name: str, found: Sequence[bytes]) -> None:
    inputs = sorted({*kept(name), *found}, key=lambda data: (len(data), data))
    lines = [b64encode(data).decode() for data in inputs if len(data) <= MAX_KEPT_BYTES][:MAX_KEPT]
    (CORPUS / f"{name}.txt").write_text("".join(f"{line}\n" for line in lines))


if __name__ == "__main__":
    sys.exit(main())
