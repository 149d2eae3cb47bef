"""Bodies of messages on both sides of the size of a frame."""

BODY_SIZES = {
    "empty": 0,
    "one byte": 1,
    "a byte less than a frame": 999,
    "one frame": 1000,
    "a byte more than a frame": 1001,
    "several frames": 2500,
}
"""By name, for frames that take at most 1,000 bytes of a body."""
