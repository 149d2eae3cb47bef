"""How often a process that serves looks for garbage in cycles."""

import gc

_NEW_OBJECTS = 20_000


def collect_rarely() -> None:
    """Let more objects come between two looks than a thousand requests in hand need.

    At Python's own 700 they set off look after look, each at all that 10,000 connections hold, and cost the door half
    of its time for nothing: neither a request nor an event leaves a cycle behind.
    """
    gc.set_threshold(_NEW_OBJECTS, *gc.get_threshold()[1:])
