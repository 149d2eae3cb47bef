"""`python -m tests.faults.moved_clock FILE …`: the command `hookline …` with a wall clock ahead by FILE's seconds."""

import sys
import time
from pathlib import Path

_true_s = time.time
_shift = Path(sys.argv[1])


def moved_s() -> float:
    return _true_s() + float(_shift.read_text() or 0)


if __name__ == "__main__":
    del sys.argv[1]
    time.time = moved_s  # before anything of ours is imported, and may keep the function
    from hookline.cli.main import main

    main()
