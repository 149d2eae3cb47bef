"""Floods an ingress in each way and prints a table: `python -m tests.floods [SECONDS] [WORDS OF A FLOOD'S NAME]`."""

import asyncio
import sys
import tempfile
from pathlib import Path

from tests.floods.floods import MAX_ANSWER_S, MAX_MIB, allow_files, floods, run


def main() -> int:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 20.0
    name = " ".join(sys.argv[2:])
    allow_files()
    failed = False
    for flood in floods(1.0):
        if name in flood.name:
            with tempfile.TemporaryDirectory() as folder:
                result = asyncio.run(run(flood, Path(folder), seconds))
            is_good = result.peak_mib < MAX_MIB and set(result.answers) == {"200"} and result.slowest_s < MAX_ANSWER_S
            failed |= not is_good
            sys.stdout.write(f"{'  ' if is_good else '✗ '}{result.row()}\n")
            sys.stdout.flush()
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
