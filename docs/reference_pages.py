"""The pages in docs/reference, made from the code: settings, commands, events and errors."""

import importlib
import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from types import FunctionType
from typing import Any

import click
import msgspec
from msgspec import inspect as types

from docs.markdown import table
from hookline.cli.main import cli
from hookline.cli.topics import events as canonical_events
from hookline.ingress.responses import STATUS
from hookline.runtime.shutdown import ExitCode
from hookline.schemas import errors
from hookline.schemas.errors import HooklineError, Refused
from hookline.schemas.events import EVENT_TYPES, CanonicalEvent
from hookline.schemas.provider import Provider
from hookline.schemas.providers import catalogue
from hookline.settings_sections import SECTIONS, SourceSettings

MADE = "<!-- made from the code by `make tables` -->"
_SHARED_FIELDS = tuple(field.name for field in msgspec.structs.fields(CanonicalEvent))
_BOUNDS = {"gt": "more than", "ge": "at least", "lt": "less than", "le": "at most"}
_PLAIN = {
    types.StrType: "text",
    types.IntType: "integer",
    types.FloatType: "number",
    types.BoolType: "true or false",
    types.NoneType: "none",
    types.DateTimeType: "time",
    types.DictType: "object",
    types.AnyType: "anything",
}


def settings_page() -> str:
    sections = [_section(f"[{name}]", kind) for name, kind in SECTIONS.items()]
    providers = [_own_settings(each) for each in catalogue().values() if msgspec.structs.fields(each.account)]
    return "\n\n".join(
        [
            f"# Every setting\n\n{MADE}",
            (
                "[Settings](../settings.md) says how the file is found, and where secrets come from. The tables here "
                "have every key with its type, its default and its limits. A name that ends in `_s` is in seconds, "
                "one in `_bytes` in bytes."
            ),
            *sections,
            _section("[sources.<name>]", SourceSettings),
            (
                "`provider` is required. It names a built-in provider, or "
                "[one of your own](../providers.md). The provider's own keys stand in the same table:"
            ),
            *providers,
        ]
    )


def _section(title: str, kind: type[msgspec.Struct]) -> str:
    return f"## `{title}`\n\n{_doc(kind)}\n\n{_keys(kind)}"


def _own_settings(provider: Provider[Any]) -> str:
    return f"### `{provider.name}`\n\n{_doc(provider.account)}\n\n{_keys(provider.account)}"


def _keys(kind: type[msgspec.Struct]) -> str:
    info = types.type_info(kind)
    assert isinstance(info, types.StructType)  # noqa: S101  for mypy
    rows = [
        (f"`{field.encode_name}`", _type(field.type), _default(field), _limits(field.type)) for field in info.fields
    ]
    return table(("key", "type", "default", "limits"), rows)


def _doc(thing: object) -> str:
    """The docstring as one page would have it, its own one only."""
    text = (thing.__dict__.get("__doc__") if isinstance(thing, type) else inspect.getdoc(thing)) or ""
    return inspect.cleandoc(text)


def _default(field: types.Field) -> str:
    if field.required:
        return "required"
    return "empty" if field.default is msgspec.NODEFAULT else _value(field.default)


def _value(value: object) -> str:
    match value:
        case None:
            return "none"
        case bool():
            return f"`{str(value).lower()}`"
        case str():
            return f'`"{value}"`'
        case tuple() | dict():
            return "empty"
        case _:
            return f"`{value}`"


def _type(kind: types.Type) -> str:
    match kind:
        case types.UnionType():
            return " or ".join(_type(each) for each in kind.types)
        case types.LiteralType():
            return ", ".join(f'`"{each}"`' for each in kind.values)
        case types.VarTupleType() | types.ListType():
            return f"list of {_type(kind.item_type)}"
        case types.StructType():
            return f"`{kind.cls.__name__}`"
        case _:
            return _PLAIN[type(kind)]


def _limits(kind: types.Type) -> str:
    if isinstance(kind, types.UnionType):
        return "; ".join(filter(None, map(_limits, kind.types)))
    found = {name: getattr(kind, name, None) for name in _BOUNDS}
    said = [f"{_BOUNDS[name]} {bound}" for name, bound in found.items() if bound is not None]
    if (least := getattr(kind, "min_length", None)) is not None:
        said.append(f"at least {least} of them")
    return ", ".join(said)


def commands_page() -> str:
    codes = [(str(int(code)), name) for code, name in ((0, "done"), *((each, _words(each.name)) for each in ExitCode))]
    return "\n\n".join(
        [
            f"# Every command\n\n{MADE}",
            (
                "`hookline COMMAND --help` says the same in a terminal. [Exit codes](../operations.md#exit-codes) has "
                "more about the last table."
            ),
            *_commands("hookline", cli),
            "## Exit codes",
            table(("code", "meaning"), codes),
        ]
    )


def _words(name: str) -> str:
    return name.lower().replace("_", " ")


def subcommands(group: click.Group) -> dict[str, click.Command]:
    """Each command of a group, also those that are imported when they are asked for."""
    with click.Context(group) as context:
        return {name: command for name in group.list_commands(context) if (command := group.get_command(context, name))}


def _commands(name: str, command: click.Command) -> Iterator[str]:
    yield _command(name, command)
    if isinstance(command, click.Group):
        for word, below in sorted(subcommands(command).items()):
            yield from _commands(f"{name} {word}", below)


def _command(name: str, command: click.Command) -> str:
    with click.Context(command, info_name=name, **cli.context_settings) as context:
        usage = " ".join([name, *command.collect_usage_pieces(context)])
        records = [each.get_help_record(context) for each in command.params if isinstance(each, click.Option)]
        options = [_option(*record) for record in records if record is not None]
    depth = "##" if " " not in name.removeprefix("hookline ") else "###"
    parts = [f"{depth} `{name}`", _text(command.help or ""), f"```text\n{usage}\n```"]
    if options:
        parts.append(table(("option", "meaning"), options))
    if command.epilog:
        parts.append(f"```text\n{_examples(command.epilog)}\n```")
    return "\n\n".join(parts)


def _option(names: str, meaning: str) -> tuple[str, str]:
    return f"`{names.replace('|', ' ')}`", _escaped(meaning)


def _escaped(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("|", "\\|").replace("[", "\\[").replace("<", "\\<")


def _text(text: str) -> str:
    return inspect.cleandoc(text).replace("\b\n", "").replace("<", "\\<")


def _examples(epilog: str) -> str:
    return inspect.cleandoc(epilog.replace("\b", "")).strip()


def events_page() -> str:
    shown = {each["topic"]: each["sent_by"] for each in canonical_events(catalogue())}
    return "\n\n".join(
        [
            f"# Every event\n\n{MADE}",
            (
                "`from hookline.events import …` has them all. Programs in other languages find the same in "
                "[JSON Schema](../schema/events.schema.json), and the messages on RabbitMQ in "
                "[AsyncAPI](../schema/asyncapi.json)."
            ),
            "## All events",
            f"{_doc(CanonicalEvent)}\n\n{_fields(CanonicalEvent, ())}",
            *(_event(topic, kind, shown[topic]) for topic, kind in EVENT_TYPES.items()),
        ]
    )


def _event(topic: str, kind: type[CanonicalEvent], sent_by: Mapping[str, Sequence[str]]) -> str:
    parents = [each for each in kind.__mro__[1:] if issubclass(each, CanonicalEvent) and each is not CanonicalEvent]
    docs = [text for each in (kind, *parents) if (text := _doc(each))]
    senders = "; ".join(f"{name} ({', '.join(theirs)})" for name, theirs in sent_by.items())
    said = senders or ("every provider, for what is not known here" if topic == "unknown" else "no provider yet")
    return "\n\n".join(
        [f"## `{kind.__name__}`", f"Topic `{topic}`. Sent by: {said}.", *docs, _fields(kind, _SHARED_FIELDS)]
    )


def _fields(kind: type[msgspec.Struct], without: Sequence[str]) -> str:
    info = types.type_info(kind)
    assert isinstance(info, types.StructType)  # noqa: S101  for mypy
    own = [field for field in info.fields if field.name not in without]
    return table(("field", "type", "default"), [(f"`{each.name}`", _type(each.type), _default(each)) for each in own])


def errors_page() -> str:
    meanings = _meanings()
    refusals = [(name, kind) for name, kind in _tree() if issubclass(kind, Refused) and kind in STATUS]
    others = [(name, kind) for name, kind in _tree() if not issubclass(kind, Refused) and kind is not HooklineError]
    return "\n\n".join(
        [
            f"# Every error\n\n{MADE}",
            (
                'A refused request gets a JSON body, `{"error": {"code": …, "message": …}}`. The code is also the '
                "label `reason` of `hookline_refused_total`, and the reason in the log."
            ),
            "## What the ingress refuses",
            table(
                ("code", "status", "meaning", "class"),
                [(f"`{kind.reason}`", str(STATUS[kind]), meanings[name], f"`{name}`") for name, kind in refusals],
            ),
            (
                "A request from an address that is not in `allow_from` is answered as `bad_signature`; the log and the "
                f"metric say `{errors.RefusedAddress.noted_as}`. Beyond `max_unverified_per_10_s` requests of a source "
                f"that were not verified, the next ones are `{errors.TooManyRequests.reason}`, whatever is wrong with "
                "them; genuine callbacks are accepted."
            ),
            "## What ends a command or parks an event",
            table(
                ("reason", "meaning", "class"),
                [(f"`{kind.reason}`", meanings[name], f"`{name}`") for name, kind in others],
            ),
        ]
    )


def _tree() -> list[tuple[str, type[HooklineError]]]:
    return [
        (name, kind)
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, HooklineError)
    ]


def _meanings() -> dict[str, str]:
    """What the tree at the top of the module says of each class, or else its docstring."""
    drawn = dict(re.findall(r"(?m)^[│├└─\s]*?(\w+)(?: {2,}(.+))?$", errors.__doc__ or ""))
    return {name: drawn.get(name) or _doc(kind).partition("\n")[0] or _words_of(name) for name, kind in _tree()}


def _words_of(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", " ", name).lower()


def api_page() -> str:
    return "\n\n".join(
        [
            f"# Python API\n\n{MADE}",
            "What a program may import. Everything else may change with any version.",
            *(_module(module, seen) for module, seen in PUBLIC.items()),
        ]
    )


def _module(name: str, seen: str) -> str:
    directives = "\n".join(_directive(name, each) for each in public_names(name))
    return f"## `{name}`\n\n{seen}\n\n```{{eval-rst}}\n{directives}```"


def public_names(module: str) -> Sequence[str]:
    found = importlib.import_module(module)
    named: Sequence[str] | None = getattr(found, "__all__", None)
    return named or [name for name in vars(found) if not name.startswith("_")]


def _directive(module: str, name: str) -> str:
    value = getattr(importlib.import_module(module), name)
    match value:
        case type() if issubclass(value, Exception):
            return f".. autoexception:: {module}.{name}\n   :members:\n"
        case type():
            return f".. autoclass:: {module}.{name}\n   :members:\n"
        case FunctionType():
            return f".. autofunction:: {module}.{name}\n"
        case dict() | str():  # their docstrings are those of their types
            return f".. py:data:: {module}.{name}\n   :type: {type(value).__name__}\n"
        case _:
            return f".. autodata:: {module}.{name}\n   :no-value:\n"


PUBLIC = {
    "hookline": "[Writing workers](../writing-workers.md) shows how they are used.",
    "hookline.events": "[Every event](events.md) has the same as tables.",
    "hookline.provider": "[Adding a provider](../adding-a-provider.md) shows how they are used.",
    "hookline.testing": "[Testing](../writing-workers.md#testing) shows how they are used.",
}
PAGES = {
    "settings.md": settings_page,
    "commands.md": commands_page,
    "events.md": events_page,
    "errors.md": errors_page,
    "api.md": api_page,
}
