"""`hookline refused`: the requests that the ingress has refused on this machine, and why."""

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import msgspec

from hookline.audit.reader import RefusalFilter, RefusalReader
from hookline.cli import diagnosis_output, tables
from hookline.cli.known_names import REFUSAL_REASONS, leave_if_unknown, one_of
from hookline.cli.options import as_moment, config_option, json_option
from hookline.cli.output import check_no_terminal, leave, say, titled
from hookline.runtime.installation import refusals_path
from hookline.runtime.logs import printable
from hookline.schemas.attribution import with_hints
from hookline.schemas.errors import SettingsError
from hookline.schemas.refusals import UNKNOWN_PATH, RefusalCount, RefusedRequest, StoredRefusal
from hookline.settings import Settings, load

COLUMNS = (("id", "time", "source", "reason"), ("request", "from"), ("what failed",))
_NO_SOURCE = "-"
_SUMMED_UP = 5


@click.group(
    epilog="""\b
    Examples:
      hookline refused list --since 2h
      hookline refused show 17
      hookline refused verify 17
    """
)
def refused() -> None:
    """List, show or verify refused requests.

    The ingress records what it refuses in a file on its machine, without signatures and secrets. After a burst, a
    flood is only counted.
    """


@refused.command(
    "list",
    epilog="""\b
    Examples:
      hookline refused list
      hookline refused list --source krtc-main --reason stale_timestamp --since 1d
      hookline refused list --source - --json          requests to unknown paths
    """,
)
@click.option("--source", help="Only to this source; - is what belongs to none.")
@click.option(
    "--reason", callback=one_of("reason", REFUSAL_REASONS), help=f"Only with this reason: {', '.join(REFUSAL_REASONS)}."
)
@click.option(
    "--since",
    callback=as_moment,
    metavar="TIME",
    help="Only those at this time or later: 2h (ago), or ISO 8601 with a time zone.",
)
@click.option("--until", callback=as_moment, metavar="TIME", help="Only those at this time or earlier.")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="How many to show at most.")
@json_option
@config_option
def list_(  # noqa: PLR0913  one for each option
    source: str | None,
    reason: str | None,
    since: datetime | None,
    until: datetime | None,
    limit: int,
    config: Path,
    *,
    as_json: bool,
) -> None:
    """List refused requests, the newest first.

    Below the table stands how many were refused in all, also those that were not recorded.
    """
    settings = load(config, with_sources=False)
    reader, wanted = _reader(settings), UNKNOWN_PATH if source == _NO_SOURCE else source
    chosen = RefusalFilter(wanted, reason, _unix_s(since), _unix_s(until))
    page = reader.list(chosen, limit=limit)
    if not page.refusals:
        leave_if_unknown(settings, provider=None, source=wanted or None)
    if as_json:
        for each in page.refusals:
            click.echo(_json(_facts(each)))
    else:
        _show_list(page.refusals, _of(reader.counts(), wanted, reason))
    if page.cursor is not None:
        click.echo(f"The newest {limit} are shown; --limit shows more.", err=True)


@refused.command(
    "show",
    epilog="""\b
    Examples:
      hookline refused show 17
      hookline refused show 17 --json | jq -r .hint
      hookline refused show 17 --raw > callback.http
    """,
)
@click.argument("number", metavar="ID", type=click.IntRange(1))
@click.option("--raw", is_flag=True, help="Write the exact request, byte for byte, with its signature.")
@json_option
@config_option
def show(number: int, config: Path, *, raw: bool, as_json: bool) -> None:
    """Show everything that is known of a refused request."""
    if raw:
        check_no_terminal()
    record = refusal(load(config, with_sources=False), number)
    if raw:
        if record.exact is None:
            leave(f"the exact request of {number} was not kept; `requests = true` under [audit] keeps the next ones")
        sys.stdout.buffer.write(record.exact)
        return
    click.echo(_json(_facts(StoredRefusal(number, record))) if as_json else _page(number, record))


@refused.command(
    "verify",
    epilog="""\b
    Examples:
      hookline refused verify 17
      hookline refused verify 17 --json
    """,
)
@click.argument("number", metavar="ID", type=click.IntRange(1))
@json_option
@config_option
@click.pass_context
def verify_again(context: click.Context, number: int, config: Path, *, as_json: bool) -> None:
    """Try a refused request again with the present settings.

    The time is that of its receipt. A signature can be tried again if `requests = true` stood under [audit] when it was
    refused. Otherwise the steps that need no signature are tried. The exit code is 1 unless the request would be
    accepted.
    """
    settings = load(config, with_sources=True)
    record = refusal(settings, number)
    from hookline.diagnosis.refused import diagnose_refused, source_now  # noqa: PLC0415  slow to load
    from hookline.diagnosis.steps import Circumstances  # noqa: PLC0415  see above

    around = Circumstances(settings.sources, settings.trusted_proxies, record.at_s, record.peer)
    found = diagnose_refused(record, source_now(record, settings.sources), around)
    diagnosis_output.leave(found, context, as_json=as_json)


def refusal(settings: Settings, number: int) -> RefusedRequest:
    """A refused request of the audit. Ends the command if it is not there."""
    found = _reader(settings).get(number)
    if found is None:
        leave(f"there is no refused request {number}, or no longer; `hookline refused list` shows those there are")
    return found.request


def _reader(settings: Settings) -> RefusalReader:
    """Raises SettingsError if the audit is switched off."""
    path = refusals_path(settings)
    if path is None:
        raise SettingsError(f'audit.path is "", so refused requests are not recorded ({settings.path})')
    return RefusalReader(path)


def _show_list(found: Sequence[StoredRefusal], counts: Sequence[RefusalCount]) -> None:
    if found:
        tables.show(COLUMNS, [_row(each) for each in found])
        click.echo()
    total = sum(each.count for each in counts)
    if not total and not found:
        click.echo("No refused requests.")
        return
    most = sorted(counts, key=lambda each: each.count, reverse=True)[:_SUMMED_UP]
    kinds = [f"{each.count:,} {each.source or _NO_SOURCE} {each.reason}" for each in most]
    more = ["…"] if len(counts) > _SUMMED_UP else []
    say(f"{len(found):,} shown. Refused since the file was made: {total:,} ({', '.join([*kinds, *more])})")


def _unix_s(time: datetime | None) -> float | None:
    return None if time is None else time.timestamp()


def _of(counts: Sequence[RefusalCount], source: str | None, reason: str | None) -> Sequence[RefusalCount]:
    return [each for each in counts if source in (None, each.source) and reason in (None, each.reason)]


def _row(stored: StoredRefusal) -> tuple[str, ...]:
    """The texts for COLUMNS."""
    found = stored.request
    of = (found.source or _NO_SOURCE, found.reason)
    return (str(stored.id), _at(found.at_s), *of, _asked(found), _from(found), _why(found))


def _asked(found: RefusedRequest) -> str:
    return f"{found.method} {found.path}" if found.is_read else "not read"


def _why(found: RefusedRequest) -> str:
    return with_hints(found.detail, found.hint)


def _from(found: RefusedRequest) -> str:
    return f"{found.forwarded} through {found.peer}" if found.forwarded else found.peer


def _facts(stored: StoredRefusal) -> dict[str, Any]:
    """A refused request as JSON. Of an exact request only the size is shown: its signature may still be good."""
    found = msgspec.structs.asdict(stored.request)
    exact, at_s = found.pop("exact"), found.pop("at_s")
    at = datetime.fromtimestamp(at_s, UTC)
    return {"id": stored.id, "at": at, **found, "exact_bytes": None if exact is None else len(exact)}


def _page(number: int, found: RefusedRequest) -> str:
    """A refused request in full."""
    size = f"{found.body_bytes:,} bytes"
    body = f"{size}, SHA-256 {found.body_sha256}" if found.body_sha256 else f"{size} announced, not read"
    facts = [
        ("id", str(number)),
        ("time", _at(found.at_s)),
        ("source", found.source or ("none has this path" if found.is_read else "unknown")),
        ("answer", f"{found.status} {found.reason}"),
        ("what failed", found.detail),
        ("hint", found.hint),
        ("request", f"{_asked(found)}{'?' if found.query else ''}{found.query}"),
        ("from", found.peer),
        ("forwarded", found.forwarded),
        ("body", body if found.is_read else ""),
        ("exact", "" if found.exact is None else f"kept, {len(found.exact):,} bytes; --raw writes it"),
    ]
    shown = [titled(name, printable(value), 13) for name, value in facts if value]
    if found.headers:
        shown += ["", "headers", *(f"    {printable(name)}: {printable(value)}" for name, value in found.headers)]
    if found.body is not None:
        shown += ["", "body without secrets", f"    {printable(found.body)}"]
    return "\n".join(shown)


def _at(time_s: float) -> str:
    return datetime.fromtimestamp(time_s).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _json(value: dict[str, Any]) -> str:
    return msgspec.json.encode(value).decode()
