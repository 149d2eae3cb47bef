"""Tells a service manager such as systemd what this process does: it is ready, reads settings, stops, runs.

The protocol is sd_notify(3): datagrams to the socket that `NOTIFY_SOCKET` names. Without it nothing is sent.
"""

import asyncio
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Self

from hookline.aio.lasting_task import start_lasting

_SOCKET, _WATCHDOG, _WATCHDOG_PID = "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"
_US_PER_S = 1_000_000


class ServiceManager:
    """`address` is that of its socket. Within each `watchdog_s` it wants to hear that the event loop runs; 0: never."""

    def __init__(self, address: str = "", watchdog_s: float = 0) -> None:
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._watchdog_s = watchdog_s
        self._watchdog: asyncio.Task[None] | None = None
        self._is_ready = False

    @classmethod
    def of_environment(cls) -> Self:
        """The one that started this process. Its variables are removed, so that child processes do not answer it."""
        address, watchdog_us = os.environ.pop(_SOCKET, ""), os.environ.pop(_WATCHDOG, "0")
        is_meant = os.environ.pop(_WATCHDOG_PID, str(os.getpid())) == str(os.getpid())
        return cls(address, int(watchdog_us) / _US_PER_S if is_meant and watchdog_us.isdecimal() else 0)

    def waiting(self, why: str) -> None:
        self._send(f"STATUS=waiting: {why}")

    def ready(self) -> None:
        """Say that everything is open, and from now on that the event loop runs."""
        self._is_ready = True
        self._send("READY=1\nSTATUS=")
        if self._address and self._watchdog_s and self._watchdog is None:
            self._watchdog = start_lasting(self._keep_alive(), "telling the service manager that the process runs")

    @contextmanager
    def reloading(self) -> Iterator[None]:
        """Say that the settings are read anew, and then that this is done. A process that still starts says nothing."""
        if not self._is_ready:
            yield
            return
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")
        yield
        self._send("READY=1")

    def stopping(self) -> None:
        self._is_ready = False
        self._send("STOPPING=1\nSTATUS=stopping")

    def close(self) -> None:
        if self._watchdog is not None:
            self._watchdog.cancel()

    async def _keep_alive(self) -> None:
        while True:
            self._send("WATCHDOG=1")
            await asyncio.sleep(self._watchdog_s / 3)

    def _send(self, text: str) -> None:
        if not self._address:
            return
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.settimeout(0)
            sender.sendto(text.encode(), self._address)
