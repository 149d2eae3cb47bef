"""`hookline init`: writes a settings file."""

import os
from pathlib import Path

import click

from hookline.cli.options import config_option
from hookline.cli.settings_template import settings_file
from hookline.schemas.errors import SettingsError


@click.command(
    epilog="""\b
    Examples:
      hookline init
      hookline init --config /etc/hookline.toml
    """
)
@config_option
@click.option("--force", is_flag=True, help="Overwrite an existing file. Its secrets are lost.")
def init(config: Path, *, force: bool) -> None:
    """Write a settings file.

    It has comments, one source for each provider, and fresh random secrets.
    """
    how = os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if force else os.O_EXCL)
    try:
        with os.fdopen(os.open(config, how, 0o600), "w", encoding="utf-8") as file:
            file.write(settings_file())
    except FileExistsError:
        raise SettingsError(f"{config} exists; --force overwrites it") from None
    except OSError as error:
        is_lost = isinstance(error, FileNotFoundError | NotADirectoryError)
        reason = f"there is no folder {config.parent}" if is_lost else error.strerror
        raise SettingsError(f"{config} cannot be written: {reason}") from None
    config.chmod(0o600)
    click.echo(f"Wrote {config}. It contains secrets: only you can read it.")
