"""Writes README's tables from the code: `python -m docs.readme_tables`. With `--check` it only compares them."""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hookline.cli import topics
from hookline.schemas.providers import catalogue

README = Path(__file__).resolve().parent.parent / "README.md"


def providers_table() -> str:
    rows = [
        _row(
            provider.title,
            f"`{provider.name}`",
            ", ".join(provider.types),
            provider.strength,
            provider.covers,
            provider.leaves_open,
        )
        for provider in catalogue().values()
    ]
    head = _row("provider", "`provider =`", "its events", "strength", "a good signature covers", "and leaves open")
    return "\n".join([head, _row(*["---"] * 6), *rows])


def events_table() -> str:
    rows = [
        _row(f"`{row['event']}`", f"`{row['topic']}`", ", ".join(row["fields"]), _senders(row))
        for row in topics.events(catalogue())
    ]
    return "\n".join([_row("event", "topic", "fields", "sent by"), _row(*["---"] * 4), *rows])


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _senders(row: Mapping[str, Any]) -> str:
    senders = "; ".join(f"{name} {', '.join(types)}" for name, types in row["sent_by"].items())
    return senders or ("all" if row["topic"] == "unknown" else "none yet")


TABLES: Mapping[str, Callable[[], str]] = {"providers": providers_table, "events": events_table}


def with_tables(text: str) -> str:
    """The text with new tables between `<!-- NAME -->` and `<!-- /NAME -->`."""
    for name, table in TABLES.items():
        before, _, rest = text.partition(f"<!-- {name} -->\n")
        after = rest.partition(f"<!-- /{name} -->")[2]
        text = f"{before}<!-- {name} -->\n{table()}\n<!-- /{name} -->{after}"
    return text


def main() -> int:
    text = README.read_text()
    if "--check" not in sys.argv[1:]:
        README.write_text(with_tables(text))
        return 0
    if with_tables(text) == text:
        return 0
    sys.stderr.write("README.md: a table differs from the code; `make docs` writes it\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
