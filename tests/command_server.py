"""Runs commands of `hookline` in forks of one process, since loading them takes longer than most of them run.

Each has real arguments, file descriptors and exit codes. Reads one JSON object a line: arguments, folder, all of its
environment, and how it runs. One that ends by itself has `seconds` after which it is asked to stop, and `stdout`: the
file that it writes to, or `closed pipe`. One object a line is written: its exit code and both outputs.
One that keeps running has the named pipes `stderr`, to which it writes, and `life`, which gets its process id and,
later, its exit code, one a line. Nothing is written here.
"""

import gc
import json
import os
import signal
import sys
import tempfile
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, NoReturn

import aiohttp  # noqa: F401  `send` imports it late, which would take longer than all else that it does
import click

from hookline.cli.main import COMMANDS, cli, main

LIMIT_S = 10
CLOSED_PIPE = "closed pipe"


def load() -> None:
    """Import each command, which is otherwise imported when it is asked for. A fork of more modules would be slower."""
    for name in COMMANDS:
        cli.get_command(click.Context(cli), name)
    gc.freeze()


def serve() -> None:
    with closing(os.fdopen(os.dup(1), "w")) as answers:
        for line in sys.stdin:
            asked = json.loads(line)
            if "life" in asked:
                start(asked)
            else:
                answers.write(json.dumps(answer(asked)) + "\n")
                answers.flush()


def start(asked: dict[str, Any]) -> None:
    """Return at once. In the child, which a watcher waits for, run the command to the end of the interpreter."""
    if (starter := os.fork()) != 0:
        os.waitpid(starter, 0)
        return
    if os.fork() != 0:
        os._exit(0)  # nobody has to wait for the watcher
    life = os.open(asked["life"], os.O_WRONLY)
    if (child := os.fork()) != 0:
        watch(child, life)
    os.close(life)
    become(asked, os.open(os.devnull, os.O_WRONLY), os.open(asked["stderr"], os.O_WRONLY))
    main()


def watch(child: int, life: int) -> NoReturn:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to the tests and to all that they started
    with suppress(BrokenPipeError):
        os.write(life, b"%d\n" % child)
        _, status = os.waitpid(child, 0)
        os.write(life, b"%d\n" % os.waitstatus_to_exitcode(status))
    os._exit(0)


def answer(asked: dict[str, Any]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder, "out"), Path(folder, "err")
        child = os.fork()
        if child == 0:
            run(asked, out, err)
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        outputs = [path.read_text(errors="surrogateescape") if path.exists() else "" for path in (out, err)]
    return {"code": code, "stdout": outputs[0], "stderr": outputs[1]}


def run(asked: dict[str, Any], out: Path, err: Path) -> NoReturn:
    """In the child: run the command and exit with its code."""
    signal.signal(signal.SIGALRM, stop)
    signal.alarm(asked["seconds"])
    become(asked, stdout_of(asked["stdout"], out), os.open(err, os.O_WRONLY | os.O_CREAT))
    code = 1
    try:
        main()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 0
    except BaseException:  # noqa: BLE001  as the interpreter does
        sys.excepthook(*sys.exc_info())
    finally:
        flush()
        os._exit(code)


def become(asked: dict[str, Any], stdout: int, stderr: int) -> None:
    """Be the process that is asked for, up to its first line of code."""
    os.chdir(asked["folder"])
    sys.path[0] = asked["folder"]  # as of `python -m hookline`
    os.environ.clear()
    os.environ.update(asked["environment"])
    tempfile.tempdir = None  # this process knows its own one
    redirect(0, os.open(os.devnull, os.O_RDONLY))
    redirect(1, stdout)
    redirect(2, stderr)
    sys.argv = ["hookline", *asked["arguments"]]
    sys.stdout, sys.stderr = (open(number, "w", closefd=False) for number in (1, 2))  # noqa: SIM115  descriptors


def stop(*_: object) -> None:
    """Ask this process to stop, and end it soon if it does not."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(LIMIT_S)
    os.kill(os.getpid(), signal.SIGTERM)


def flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError as error:
            os.write(2, f"Exception ignored in flushing: {error}\n".encode())


def stdout_of(name: str, out: Path) -> int:
    if name != CLOSED_PIPE:
        return os.open(name or out, os.O_WRONLY | os.O_CREAT)
    ours, theirs = os.pipe()
    os.close(ours)
    return theirs


def redirect(number: int, opened: int) -> None:
    os.dup2(opened, number)
    os.close(opened)


if __name__ == "__main__":
    load()
    serve()
