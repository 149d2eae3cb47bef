"""`python -m tests.faults [F1,F7]`: provokes faults one after the other, and prints a row for each.

As root it runs in namespaces of its own, so that no process, packet rule or mount outlives it.
"""

import argparse
import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.faults import lines
from tests.faults.catalogue import INSIDE, NOT_PROVOKED, SHORT, chosen, obstacle
from tests.faults.judging import HEAD, Result, table
from tests.faults.running import run
from tests.faults.scene import Scene
from tests.faults.world import World

_UNSHARE = ("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")


def main() -> int:
    arguments = _parser().parse_args()
    if INSIDE not in os.environ and _may_unshare():
        return _in_namespaces()
    if INSIDE in os.environ:
        lines.run("ip", "link", "set", "lo", "up")
    scenes = chosen(SHORT if arguments.short else arguments.faults)
    folder = Path(tempfile.mkdtemp(prefix="hookline-faults-"))
    _say(f"{len(scenes)} scenes; logs in {folder}")
    module = ["tests.faults.planted", arguments.plant] if arguments.plant else ["hookline"]
    red = asyncio.run(_run_all(scenes, folder, module))
    if not arguments.faults and not arguments.short:
        for fault, reason in NOT_PROVOKED.items():
            _say(f"F{fault} is not provoked: {reason}")
    if not red:
        shutil.rmtree(folder)
    return 1 if red else 0


def _may_unshare() -> bool:
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        return False
    return subprocess.run([*_UNSHARE, "true"], capture_output=True, check=False).returncode == 0  # noqa: S603


def _in_namespaces() -> int:
    """Run this command again, as the first process of its own network, mounts and process ids."""
    environment = {**os.environ, INSIDE: "1"}
    again = [*_UNSHARE, sys.executable, "-m", "tests.faults", *sys.argv[1:]]
    return subprocess.run(again, env=environment, check=False).returncode  # noqa: S603  this command


async def _run_all(scenes: Sequence[Scene], folder: Path, module: Sequence[str]) -> bool:
    """Whether a scene is red. One that is only slow is played again: another program may have been at fault."""
    world, results, red = World(), list[Result](), False
    began_s = time.monotonic()
    try:
        for scene in scenes:
            if (why := obstacle(scene)) is not None:
                _say(f"  {scene.name} {scene.title}: not here, {why}")
                continue
            result = await _try(scene, world, folder / scene.name, module)
            if result is not None and result.is_slow and len(result.broken) == 1:
                _say(f"? {scene.name} {scene.title}: {result.broken[0]}; once more")
                result = await _try(scene, world, folder / f"{scene.name}-again", module)
            red |= result is None or bool(result.broken)
            if result is not None:
                results.append(result)
                _say(
                    f"{'✗' if result.broken else '✓'} {scene.name} {scene.title}: {'; '.join(result.broken) or 'good'}"
                )
                _say(f"    {' '.join(f'{name} {cell},' for name, cell in zip(HEAD, result.row(), strict=True))}")
    finally:
        await asyncio.to_thread(world.close)
    print(table([each.row() for each in results]))  # noqa: T201  # a command's output
    _say(f"{len(results)} scenes in {time.monotonic() - began_s:.0f} s")
    return red


async def _try(scene: Scene, world: World, folder: Path, module: Sequence[str]) -> Result | None:
    folder.mkdir()  # noqa: ASYNC240  nothing else runs
    try:
        async with asyncio.timeout(300):
            return await run(scene, world, folder, module)
    except BaseException as error:
        if isinstance(error, (KeyboardInterrupt, asyncio.CancelledError)):
            raise
        _say(f"✗ {scene.name} {scene.title}: {type(error).__name__}: {str(error)[-1500:]}")
        return None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("faults", nargs="?", default="", help="such as F1,F7; by default all")
    parser.add_argument("--short", action="store_true", help="only the likeliest breakers")
    parser.add_argument("--plant", help="run with this mistake, to see whether a scene notices it")
    return parser


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201  a command of its own


if __name__ == "__main__":
    sys.exit(main())
