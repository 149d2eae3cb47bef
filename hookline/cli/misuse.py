"""What to say of wrong usage beside click's own sentence: what was meant, or where it belongs."""

import click
from click.exceptions import NoSuchOption

from hookline.schemas.near_names import nearest

_EXTRA = "Got unexpected extra argument"
_OTHER_WORDS = {"doctor": "check", "serve": "run", "start": "run", "tail": "listen", "up": "run"}
"""What other programs call our commands."""


def sentence(error: click.ClickException) -> str:
    """Click's sentence, and what to do where that is known."""
    if isinstance(error, NoSuchOption):
        error = _without_hidden(error)
        return error.format_message() + ("" if error.possibilities else _of_option(error))
    return error.format_message().replace("is not a valid integer range", "is not a whole number") + _remedy(error)


def _without_hidden(error: NoSuchOption) -> NoSuchOption:
    """The error without suggestions of options that are not for people."""
    options = [] if error.ctx is None else [each for each in error.ctx.command.params if isinstance(each, click.Option)]
    hidden = {name for option in options if option.hidden for name in option.opts}
    shown = [name for name in error.possibilities or () if name not in hidden]
    return NoSuchOption(error.option_name, error.message, shown, error.ctx)


def _remedy(error: click.ClickException) -> str:
    """What to add behind click's sentence; empty where nothing is known."""
    if not isinstance(error, click.UsageError) or error.ctx is None:
        return ""
    message = error.format_message()
    if message.startswith("No such command ") and isinstance(error.ctx.command, click.Group):
        name, known = message.split("'")[1], error.ctx.command.list_commands(error.ctx)
        near = _OTHER_WORDS[name] if _OTHER_WORDS.get(name) in known else nearest(name, known)
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
