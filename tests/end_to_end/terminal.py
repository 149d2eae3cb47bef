"""A terminal with a shell in it, in which a test types what a page says."""

import os
import re
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Mapping
from pathlib import Path

WAIT_S = 60.0

_SHELL = "import fcntl, os, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv('/bin/sh', ['sh', '-i'])"
_CHECK = "[ $? = 0 ] || echo failed:above\n"
_COLOUR = re.compile(r"\x1b\[[0-9;]*m|\r")


class Terminal:
    """An interactive shell, with Ctrl-C. It knows only what its environment says and what is typed."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._file, theirs = os.openpty()
        _without_echo(theirs)
        self._shell = subprocess.Popen(  # noqa: S603  a shell of our own
            [sys.executable, "-c", _SHELL],  # the terminal has to be the shell's own, or Ctrl-C reaches nobody
            cwd=folder,
            env={**environment, "PS1": "", "PS2": "", "ENV": ""},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        self._printed = b""

    @property
    def output(self) -> str:
        """All that was printed, without its colours."""
        return _COLOUR.sub("", self._printed.decode(errors="replace"))

    def run(self, script: str) -> str:
        """What the commands of a script print. Returns once all have ended, and fails if one of them fails."""
        begin = len(self.output)
        self.type("".join(f"{line}\n{_CHECK}" for line in script.splitlines()) + "echo the:end\n")
        self.wait_for("the:end", begin)
        printed = self.output[begin:]
        assert "failed:above" not in printed, printed
        return printed

    def type(self, text: str) -> None:
        os.write(self._file, text.encode())

    def interrupt(self) -> None:
        """Press Ctrl-C, and return once the program has ended and the shell reads on."""
        begin = len(self.output)
        self.type("\x03")
        self.wait_for("stopping", begin)
        self.type("echo reading:on\n")
        self.wait_for("reading:on", begin)

    def wait_for(self, text: str, begin: int = 0) -> None:
        """Return once the output has this text at `begin` or later."""
        deadline = time.monotonic() + WAIT_S
        while text not in self.output[begin:]:
            left_s = deadline - time.monotonic()
            assert left_s > 0, f"the terminal does not show {text!r}:\n{self.output}"
            if select.select([self._file], [], [], left_s)[0]:
                self._printed += self._read()

    def close(self) -> None:
        """End the shell and the program that runs in it."""
        if self._shell.poll() is None:
            for group in {os.tcgetpgrp(self._file), self._shell.pid}:
                os.killpg(group, signal.SIGKILL)
            self._shell.wait()
        os.close(self._file)

    def _read(self) -> bytes:
        try:
            return os.read(self._file, 65_536)
        except OSError:  # what Linux says at the end
            raise AssertionError(f"the shell has ended:\n{self.output}") from None


def _without_echo(terminal: int) -> None:
    """Leave what is typed out of the output, so that the output is the programs' alone."""
    modes = termios.tcgetattr(terminal)
    modes[3] &= ~termios.ECHO
    termios.tcsetattr(terminal, termios.TCSANOW, modes)
