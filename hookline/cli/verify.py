"""`hookline verify`: whether a request that was captured would be accepted, and if not, why."""

import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hookline.cli import diagnosis_output
from hookline.cli.known_names import unknown
from hookline.cli.options import as_moment, config_option, json_option
from hookline.cli.refused import refusal
from hookline.schemas.errors import SettingsError
from hookline.settings import load

if TYPE_CHECKING:
    from hookline.diagnosis.captured import CapturedRequest

_MAX_BYTES = 20 * 2**20


def _check_address(context: click.Context, parameter: click.Parameter, text: str | None) -> str:
    from ipaddress import ip_address  # noqa: PLC0415  only this option needs it

    try:
        return "" if text is None else str(ip_address(text))
    except ValueError:
        raise click.BadParameter(f"{text!r} is not an address", context, parameter) from None


@click.command(
    epilog="""\b
    Examples:
      hookline verify krtc-main --request callback.http
      hookline verify calls --request - < callback.http
      hookline verify calls --request callback.http --at 2026-01-31T12:00Z
      hookline verify calls --refused 17             what was refused elsewhere
      hookline verify calls --request callback.http --json | jq .accepted
    """
)
@click.argument("source")
@click.option(
    "--request",
    "file",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True),
    metavar="FILE",
    help="A file with one raw HTTP request; - is stdin.",
)
@click.option(
    "--refused", "number", type=click.IntRange(1), metavar="ID", help="A refused request of the audit, by its id."
)
@click.option(
    "--at",
    callback=as_moment,
    metavar="TIME",
    help="When it arrived: 2h (ago), or ISO 8601 with a time zone.  [default: now, or when it was refused]",
)
@click.option("--from", "address", callback=_check_address, metavar="ADDRESS", help="The address that sent it.")
@json_option
@config_option
@click.pass_context
def verify(  # noqa: PLR0913  one for each option
    context: click.Context,
    source: str,
    *,
    file: str | None,
    number: int | None,
    at: datetime | None,
    address: str,
    config: Path,
    as_json: bool,
) -> None:
    """Say whether a captured request would be accepted.

    Each step of the ingress is tried with the present settings. What fails is said with how much it fails by, which
    secret would fit, and whether the body was changed. SOURCE is the source that should accept it. The file holds the
    request line, the headers, a blank line and the exact body, as an inspector or a proxy saves it. Nothing is sent or
    stored. The exit code is 1 unless the request would be accepted.
    """
    if (file is None) == (number is None):
        raise click.UsageError("one of --request FILE and --refused ID is needed")
    settings = load(config, with_sources=True)
    if source not in settings.sources:
        raise SettingsError(f"{unknown('source', source, settings.source_names)} ({settings.path})")
    from hookline.diagnosis.refused import diagnose_refused  # noqa: PLC0415  slow to load
    from hookline.diagnosis.steps import Circumstances, diagnose  # noqa: PLC0415  see above

    chosen, record = settings.sources[source], None if number is None else refusal(settings, number)
    now_s = at.timestamp() if at else record.at_s if record else time.time()
    peer = address or (record.peer if record else "")
    around = Circumstances(settings.sources, settings.trusted_proxies, now_s, peer)
    if record is None:
        found = diagnose(_request(file or "-", context), chosen, around)
    else:
        found = diagnose_refused(record, chosen, around)
    if_stale = "" if at or record else "--at tries it as of another time."
    diagnosis_output.leave(found, context, as_json=as_json, if_stale=if_stale)


def _request(file: str, context: click.Context) -> "CapturedRequest":
    """The request in a file. Raises BadParameter."""
    from hookline.diagnosis.captured import NotARequest, read_request  # noqa: PLC0415  slow to load

    try:
        return read_request(_read(file, context))
    except NotARequest as fault:
        raise click.BadParameter(f"this is no HTTP request: {fault}", context, param_hint="--request") from None


def _read(file: str, context: click.Context) -> bytes:
    try:
        with click.open_file(file, "rb") as opened:
            data: bytes = opened.read(_MAX_BYTES + 1)
    except OSError as error:
        raise click.BadParameter(f"{file!r}: {error.strerror}", context, param_hint="--request") from None
    if len(data) > _MAX_BYTES:
        raise click.BadParameter(f"it is larger than {_MAX_BYTES:,} bytes", context, param_hint="--request")
    return data
