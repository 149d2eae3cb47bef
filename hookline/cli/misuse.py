"""What to say of wrong usage beside click's own sentence: what was meant, or where it belongs."""

import click
from click.exceptions import NoSuchOption

from hookline.schemas.near_names import nearest

_EXTRA = "Got unexpected extra argument"


def remedy(error: click.ClickException) -> str:
    """What to add behind click's sentence; empty where nothing is known."""
    if isinstance(error, NoSuchOption) and not error.possibilities:
        return _of_option(error)
    if not isinstance(error, click.UsageError) or error.ctx is None:
        return ""
    message = error.format_message()
    if message.startswith("No such command ") and isinstance(error.ctx.command, click.Group):
        near = nearest(message.split("'")[1], error.ctx.command.list_commands(error.ctx))
        return f" Did you mean {near}?" if near and "Did you mean" not in message else ""
    if message.startswith(_EXTRA) and error.ctx.command.name == "ingress":
        return ". Workers run with `hookline worker`, or beside an ingress with `hookline run`"
    return ""


def _of_option(error: NoSuchOption) -> str:
    """An option that is a setting, or that stands before its command."""
    from hookline.settings_sections import SECTIONS  # noqa: PLC0415  a wrong option is rare

    if error.option_name == "--config":
        return " It stands behind the command: `hookline status --config FILE`"
    key = error.option_name.lstrip("-").replace("-", "_")
    sections = [name for name, kind in SECTIONS.items() if key in kind.__struct_fields__]
    return f" In the settings file it is {key} under [{sections[0]}]" if sections else ""
