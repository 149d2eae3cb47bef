"""What the pages in docs/going-live have from the code: settings, commands and facts of each provider."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from docs.markdown import table, with_block
from hookline.cli.settings_template import source_table
from hookline.schemas.provider import Provider
from hookline.schemas.providers import catalogue

FOLDER = Path(__file__).resolve().parent / "going-live"
TEMPLATE = """\
# Going live with {title}

<!-- settings -->
<!-- /settings -->

## In the console

1. Enter the URL, `https://…/hooks/{source}`. Not known yet: where, and where the secret is.

## Addresses to allow

- Not known yet.

## Try it through a tunnel

[A public tunnel](../going-live.md#a-public-tunnel) says how to open one. With its address in the place of
`tunnel.example.com`:

<!-- try -->
<!-- /try -->

## Rotate the secret

<!-- rotate -->
<!-- /rotate -->

1. Add the new secret in front of the old one, as above, and [reload the settings](../operations.md#new-settings). Both
   are accepted from now on.
2. Change the secret at the provider.
3. When no callback with the old secret comes any more, remove it from `secrets`, and reload again.

## When Hookline does not answer

- Not known yet.

## Not known

- Everything that the provider's own pages say. Fill it in, each fact with the address of its page.
"""
_UNITS = ((86_400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))


def page_of(provider: Provider[Any]) -> Path:
    return FOLDER / f"{provider.name}.md"


def text_of(provider: Provider[Any]) -> str:
    """The text of the provider's page, with what is made from the code. A new provider gets one to fill in."""
    page = page_of(provider)
    new = TEMPLATE.format(title=provider.title, source=provider.example.source)
    return with_blocks(page.read_text("utf-8") if page.exists() else new, provider)


def source(provider: Provider[Any], *secrets: str) -> str:
    """The settings of the provider's example, as `hookline init` writes them, with secrets from the environment."""
    written = source_table(provider, '", "'.join(f"${{{secret}}}" for secret in secrets))
    head, _, rest = written.partition("\n")
    return f"{f'{head:<42}'}# POST /hooks/{provider.example.source}\n{rest}"


def settings_block(provider: Provider[Any]) -> str:
    return f"```toml\n{source(provider, 'CALLBACK_SECRET')}```\n\n{facts(provider)}"


def facts(provider: Provider[Any]) -> str:
    reply = provider.reply
    own = [f"`{field.encode_name}`" for field in msgspec.structs.fields(provider.account)]
    published = ", ".join(f"`{each}`" for each in provider.addresses)
    resends = (
        f"up to {duration(provider.resends_for_s)} after it" if provider.resends_for_s else "not declared; see below"
    )
    answered = provider.challenge or provider.checks_url_by_get
    check = "answered, and not published" if answered else "none is known"
    rows = [
        ("a good signature covers", provider.covers),
        ("and leaves open", provider.leaves_open),
        ("Hookline's reply", f"`{reply.status}` with `{reply.body.decode()}`"),
        ("its check of the URL", check),
        ("an event may come again", resends),
        (
            '`allow_from = ["provider"]`',
            f"stands for {published}" if published else "cannot be used: no list is built in",
        ),
        ("its own settings", f"{', '.join(own)}: see [every setting](../reference/settings.md)" if own else "none"),
    ]
    return table(("what Hookline knows", ""), rows)


def duration(seconds: float) -> str:
    """About how long, in the largest unit of which there are at least two."""
    size, unit = next((size, unit) for size, unit in _UNITS if seconds >= 2 * size or size == 1)
    return f"{round(seconds / size)} {unit}s"


def try_block(provider: Provider[Any]) -> str:
    name = provider.example.source
    send = f"hookline send {name} --url https://tunnel.example.com/hooks/{name}"
    return f"```sh\nhookline check\nhookline listen --source {name} --body\n# In another terminal:\n{send}\n```"


def rotate_block(provider: Provider[Any]) -> str:
    return f"```toml\n{source(provider, 'NEW_SECRET', 'OLD_SECRET')}```"


def overview_block() -> str:
    rows = [
        (
            f"[{each.title}](going-live/{each.name}.md)",
            each.strength,
            "yes" if each.challenge or each.checks_url_by_get else "none is known",
            "yes" if each.addresses else "no",
            duration(each.resends_for_s) if each.resends_for_s else "see its page",
        )
        for each in catalogue().values()
    ]
    head = (
        "provider",
        "a signature covers",
        "its check is answered",
        "addresses built in",
        "repeats an event for up to",
    )
    pages = "\n".join(f"{each.title.partition(';')[0]} <going-live/{each.name}>" for each in catalogue().values())
    return f"{table(head, rows)}\n\n```{{toctree}}\n:hidden:\n\n{pages}\n```"


BLOCKS: Mapping[str, Callable[[Provider[Any]], str]] = {
    "settings": settings_block,
    "try": try_block,
    "rotate": rotate_block,
}


def with_blocks(text: str, provider: Provider[Any]) -> str:
    for name, make in BLOCKS.items():
        text = with_block(text, name, make(provider))
    return text
