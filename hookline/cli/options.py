"""What the commands share: the options that most take, and the loop that they run on."""

import asyncio
import os
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import click

from hookline.settings import DEFAULT_PATH

T = TypeVar("T")
Command = TypeVar("Command", bound=Callable[..., Any])


def run_to_end(main: Coroutine[Any, Any, T]) -> T:
    """Run on uvloop where it is installed; it halves the cost of a request."""
    try:
        import uvloop  # noqa: PLC0415  not on every platform
    except ImportError:
        return asyncio.run(main)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


def config_option(command: Command) -> Command:
    return click.option(
        "--config",
        type=click.Path(dir_okay=False, path_type=Path),
        default=lambda: os.environ.get("HOOKLINE_CONFIG", DEFAULT_PATH),
        show_default="$HOOKLINE_CONFIG, else ./hookline.toml",
        help="The settings file.",
    )(command)


def log_option(command: Command) -> Command:
    return click.option(
        "--log",
        "log_style",
        type=click.Choice(["text", "json"]),
        default="text",
        show_default=True,
        help="One readable line for each thing that happens, or one JSON object.",
    )(command)


def json_option(command: Command) -> Command:
    return click.option("--json", "as_json", is_flag=True, help="As JSON.")(command)
