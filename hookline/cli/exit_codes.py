"""Exit codes: 0 is done."""

FAILED = 1
USAGE = 2  # or settings
UNREACHABLE = 3  # the broker, the store, or the door
