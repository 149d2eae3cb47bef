"""Floods an ingress in each way and prints a table.

`python -m tests.floods [--asyncio] [SECONDS] [WORDS OF A FLOOD'S NAME]`; `--asyncio` runs the ingress without uvloop.
"""

import asyncio
import sys
import tempfile
from pathlib import Path

from tests.floods.floods import MAX_ANSWER_S, MAX_MIB, allow_files, floods, run


def main() -> int:
    words = [word for word in sys.argv[1:] if word != "--asyncio"]
    has_uvloop = len(words) == len(sys.argv) - 1
    seconds = float(words[0]) if words else 20.0
    name = " ".join(words[1:])
    allow_files()
    failed = False
    for flood in floods(1.0):
        if name in flood.name:
            with tempfile.TemporaryDirectory() as folder:
                result = asyncio.run(run(flood, Path(folder), seconds, has_uvloop=has_uvloop))
            is_good = result.peak_mib < MAX_MIB and set(result.answers) == {"200"} and result.slowest_s < MAX_ANSWER_S
            failed |= not is_good
            sys.stdout.write(f"{'  ' if is_good else '✗ '}{result.row()}\n")
            sys.stdout.flush()
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
