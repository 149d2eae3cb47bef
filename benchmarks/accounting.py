"""CPU time and memory of processes, from the operating system's accounting."""

import resource
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path

import psutil

Processes = Callable[[], Iterable[int]]

LOAD = "load"
"""The group of the processes that make load. By default, these are the child processes that have ended."""


def cpu_s(pids: Iterable[int]) -> float:
    """User and system time of these processes and their descendants, since they started."""
    total = 0.0
    for process in _with_children(pids):
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system
    return total


def threads_cpu_s(pid: int) -> dict[int, float]:
    """User and system time of each thread of a process."""
    return {thread.id: thread.user_time + thread.system_time for thread in psutil.Process(pid).threads()}


def is_listening(pid: int) -> bool:
    """Whether a process listens on a TCP port."""
    return any(each.status == psutil.CONN_LISTEN for each in psutil.Process(pid).net_connections("tcp"))


def rss_mib(pids: Iterable[int]) -> float:
    """Resident memory of these processes and their descendants, now."""
    total = 0
    for process in _with_children(pids):
        with suppress(psutil.NoSuchProcess):
            total += process.memory_info().rss
    return total / 2**20


def peak_mib(pids: Iterable[int]) -> float:
    """Peak resident memory of these processes and their descendants; where there is no /proc, the memory now."""
    total = 0
    for process in _with_children(pids):
        try:
            status = Path(f"/proc/{process.pid}/status").read_text()
            total += int(status.partition("VmHWM:")[2].split()[0]) * 1024
        except (OSError, IndexError):
            return rss_mib(pids)
    return total / 2**20


class Meter:
    """The CPU time that groups of processes use from now on."""

    def __init__(self, groups: Mapping[str, Processes]) -> None:
        self._groups = groups
        self._before = self._now()

    def spent_s(self) -> dict[str, float]:
        return {name: spent - self._before[name] for name, spent in self._now().items()}

    def _now(self) -> dict[str, float]:
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        now = {name: cpu_s(pids()) for name, pids in self._groups.items()}
        return {LOAD: ended.ru_utime + ended.ru_stime, **now}


def _with_children(pids: Iterable[int]) -> list[psutil.Process]:
    found: list[psutil.Process] = []
    for pid in pids:
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            found += [process, *process.children(recursive=True)]
    return found
