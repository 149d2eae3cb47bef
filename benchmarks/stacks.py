"""The stacks that py-spy samples: read, shortened, and summed by step."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence

Stack = tuple[str, ...]
"""Frames from the thread to the innermost function."""
Steps = Mapping[str, Sequence[str]]
"""The steps, and the texts by which their frames are recognised: each is part of a frame."""

EVENT_LOOP = "event loop"
"""The main thread."""
REST = "the rest"
_THREAD = re.compile(r"thread \((?P<id>\d+)\): (?P<name>.*)")
_FOLDERS = re.compile(r"\((?:/[^)]*/)(?=[^/)]+/[^/)]+\))")  # the last folder is kept
_BEFORE = ("Runner.run (", "Thread.run (")  # frames that start a thread are not part of an event's cost


def read(text: str) -> dict[int, Counter[Stack]]:
    """The stacks of a profile in py-spy's raw format, by thread, with the number of samples of each."""
    threads: dict[int, Counter[Stack]] = {}
    for line in text.splitlines():
        frames, _, samples = line.rpartition(" ")
        thread, *functions = frames.split(";")
        if (named := _THREAD.fullmatch(thread)) is not None:
            stacks = threads.setdefault(int(named["id"]), Counter())
            stacks[_stack(named["name"], functions)] += int(samples)
    return threads


def _stack(thread: str, frames: Sequence[str]) -> Stack:
    begin = max((at + 1 for at, frame in enumerate(frames) if frame.startswith(_BEFORE)), default=0)
    return EVENT_LOOP if thread == "MainThread" else thread, *(_FOLDERS.sub("(", frame) for frame in frames[begin:])


def weighed(threads: Mapping[int, Mapping[Stack, int]], cpu_us: Mapping[int, float]) -> dict[Stack, float]:
    """The CPU time of each stack, from its share of samples. Samples include waiting for a disk, CPU time does not."""
    return {
        stack: samples * cpu_us.get(thread, 0.0) / sum(stacks.values())
        for thread, stacks in threads.items()
        for stack, samples in stacks.items()
    }


def by_step(stacks: Mapping[Stack, float], steps: Steps) -> dict[str, float]:
    """The CPU time of each step, in the order of the steps. A stack belongs to the step of its innermost known frame.

    A stack of another thread than the main one belongs to the step of the thread.
    """
    counted = dict.fromkeys([*steps, REST], 0.0)
    for stack, cpu_us in stacks.items():
        counted[_step(stack, steps)] += cpu_us
    return counted


def _step(stack: Stack, steps: Steps) -> str:
    frames = stack[::-1] if stack[0] == EVENT_LOOP else stack[:1]
    found = (name for frame in frames for name, marks in steps.items() if any(mark in frame for mark in marks))
    return next(found, REST)
