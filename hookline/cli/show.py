"""`hookline topics` and `rooms`: what there is to see."""

from pathlib import Path
from typing import Any

import click
import msgspec

from hookline.cli import text_tables
from hookline.cli.options import config_option, run_to_end
from hookline.runtime.installation import Installation
from hookline.schemas.providers import catalogue
from hookline.settings import load, load_providers
from hookline.workers.rooms import view


@click.command(
    epilog="""\b
    Examples:
      hookline topics
      hookline topics --json
    """
)
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@config_option
def topics(config: Path, *, as_json: bool) -> None:
    """The canonical events, their fields, and which providers send them.

    Without a settings file, the built-in providers are shown; with one, also your own that it names.
    """
    rows = text_tables.topics(load_providers(config) if config.exists() else catalogue())
    click.echo(msgspec.json.encode(rows).decode() if as_json else text_tables.topics_text(rows))


@click.command(
    epilog="""\b
    Examples:
      hookline rooms
      hookline rooms demo-1 --json
    """
)
@click.argument("room", required=False)
@click.option("--json", "as_json", is_flag=True, help="As JSON: an array of rooms.")
@config_option
def rooms(room: str | None, config: Path, *, as_json: bool) -> None:
    """The room view: who is where since when, past sessions, recordings. ROOM is one room's id."""
    settings = load(config, with_sources=False)

    async def events() -> Any:
        async with Installation(settings) as installation:
            return await (await installation.room_log()).events()

    seen = [each for each in view(run_to_end(events())) if room in (None, each.room_id)]
    click.echo(msgspec.json.encode(seen).decode() if as_json else text_tables.rooms_text(seen))
