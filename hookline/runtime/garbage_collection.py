"""How often a process that serves looks for garbage in cycles."""

import gc

_NEW_OBJECTS = 20_000


def collect_rarely() -> None:
    """Raise the threshold of a collection above what a thousand requests in flight need.

    At Python's default of 700 they trigger one collection after another, each over all objects of 10,000 connections.
    That costs the ingress half of its time and finds nothing: no request and no event leaves a cycle behind.
    """
    gc.set_threshold(_NEW_OBJECTS, *gc.get_threshold()[1:])
