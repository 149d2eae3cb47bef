"""Writes tables of README and docs from the code: `python -m docs.readme_tables`. With `--check` it only compares."""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from docs.markdown import table, with_block
from hookline.cli import topics
from hookline.schemas.metrics import METRICS
from hookline.schemas.providers import catalogue

DOCS = Path(__file__).resolve().parent
README = DOCS.parent / "README.md"
METRICS_PAGE = DOCS / "metrics.md"
SECURITY = DOCS.parent / "SECURITY.md"
SCHEMES = {
    "body and time": ("who has the secret", "rotate secrets; keep clocks right"),
    "body": (
        "who has the secret; who saw a callback can repeat it, which has no effect while `ttl_s` remembers it",
        "keep `ttl_s` longer than anybody might keep a copy",
    ),
    "fields": (
        "as above; what the signature does not name can be changed",
        "as above; the [table of providers](README.md#providers) says what is left open",
    ),
    "time only": (
        "who saw one callback, for `tolerance_s`",
        (
            "TLS everywhere, short `tolerance_s`, `allow_from`, "
            "[`max_bodies_per_signature`](docs/providers.md#signatures-that-do-not-cover-the-body)"
        ),
    ),
    "shared secret": ("who saw one callback", "TLS everywhere, `allow_from`"),
    "none": ("who can send from an address in `allow_from`", "do not do that; set the token, key or signature secret"),
}
"""Who can forge an event, by what its signature covers, and what to do about it."""


def providers_table() -> str:
    rows = [
        (
            provider.title,
            f"`{provider.name}`",
            ", ".join(provider.types),
            provider.strength,
            provider.covers,
            provider.leaves_open,
        )
        for provider in catalogue().values()
    ]
    return table(
        ("provider", "`provider =`", "its events", "strength", "a good signature covers", "and leaves open"), rows
    )


def events_table() -> str:
    rows = [
        (f"`{row['event']}`", f"`{row['topic']}`", ", ".join(row["fields"]), _senders(row))
        for row in topics.events(catalogue())
    ]
    return table(("event", "topic", "fields", "sent by"), rows)


def metrics_table() -> str:
    rows = [(f"`{each.name}`", each.kind, ", ".join(each.labels), each.unit, each.meaning) for each in METRICS.values()]
    return table(("metric", "kind", "labels", "unit", "meaning"), rows)


def schemes_table() -> str:
    """The providers by scheme, and those that let a console leave the signature out."""
    named: dict[str, list[str]] = {scheme: [] for scheme in SCHEMES}
    for provider in catalogue().values():
        has_time = provider.strength == "body" and "time" in provider.covers
        named["body and time" if has_time else provider.strength].append(f"`{provider.name}`")
        if hasattr(provider.account, "insecure_no_signature"):
            named["none"].append(f"`{provider.name}` without one")
    rows = [(scheme, ", ".join(named[scheme]), *said) for scheme, said in SCHEMES.items()]
    return table(("a good signature covers", "providers", "who can forge an event", "what you do about it"), rows)


def _senders(row: Mapping[str, Any]) -> str:
    senders = "; ".join(f"{name} {', '.join(types)}" for name, types in row["sent_by"].items())
    return senders or ("all" if row["topic"] == "unknown" else "none yet")


TABLES: Mapping[str, Callable[[], str]] = {
    "providers": providers_table,
    "events": events_table,
    "metrics": metrics_table,
    "schemes": schemes_table,
}


def with_tables(text: str) -> str:
    """The text with a new table in each block that is named like one."""
    for name, make in TABLES.items():
        if f"<!-- {name} -->" in text:
            text = with_block(text, name, make())
    return text


def main() -> int:
    outdated = [page for page in (README, METRICS_PAGE, SECURITY) if with_tables(page.read_text()) != page.read_text()]
    if "--check" not in sys.argv[1:]:
        for page in outdated:
            page.write_text(with_tables(page.read_text()))
        return 0
    for page in outdated:
        sys.stderr.write(f"{page.name}: a table differs from the code; `make tables` writes it\n")
    return len(outdated)


if __name__ == "__main__":
    sys.exit(main())
