"""What `@worker` refuses of a function: whatever cannot take an event, and a Delivery."""

import inspect
import types
import typing
from collections.abc import Callable, Collection
from typing import Any

from hookline.schemas.events import CanonicalEvent, event_topic
from hookline.workers.api import Delivery, Worker
from hookline.workers.declaration_checks import ANY_EVENT, can_match, is_event, kind_of, names_of, union_members

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_OF_METHODS = ("self", "cls")


def check_function(function: Any, events: Collection[type[CanonicalEvent]], topic: str | None) -> bool:
    """Whether a function takes a Delivery. Raises TypeError if it cannot be a worker's function."""
    _check_kind(function)
    name = getattr(function, "__name__", "the function")
    parameters = list(inspect.signature(function).parameters.values())
    for each in parameters:
        if each.kind is each.KEYWORD_ONLY and each.default is each.empty:
            raise TypeError(f"{name} needs the keyword {each.name!r}, which a worker does not pass")
    taken = [each for each in parameters if each.kind in _POSITIONAL]
    if taken and taken[0].name in _OF_METHODS:
        raise TypeError(f"{name} is a method: its {taken[0].name!r} would receive the event; decorate a function")
    if len(taken) not in (1, 2):
        raise TypeError(
            f"{name} takes {len(taken)} parameters; a worker takes an event, and a Delivery if it wants, whose `state` "
            "has what else it needs"
        )
    _check_event(taken[0].name, _annotation(function, taken[0]), events, topic)
    if len(taken) == 2:
        _check_delivery(taken[1], _annotation(function, taken[1]))
    return len(taken) == 2


def _check_kind(function: Any) -> None:
    """Raise TypeError for what is no async function."""
    name = getattr(function, "__name__", "")
    if isinstance(function, Worker):
        raise TypeError(f"@worker(…) stands twice above {function.queue!r}; name all events in one: @worker(A, B)")
    if isinstance(function, staticmethod | classmethod):
        raise TypeError(f"{name} is a method; decorate a function of the module")
    if not callable(function) or not name:
        raise TypeError(f"@worker(…) decorates an async function, not {kind_of(function)}")
    if isinstance(function, type):
        raise TypeError(f"{name} is a class; decorate an async function")
    if inspect.isasyncgenfunction(function):
        raise TypeError(f"{name} has a `yield`, which makes it a generator; a worker's function returns nothing")
    if name == "<lambda>":
        raise TypeError("a lambda is not an async function; write the function with `async def`")
    if not inspect.iscoroutinefunction(function):
        raise TypeError(f"{name} is not an async function; write `async def {name}`")


def _check_event(name: str, hint: Any, events: Collection[type[CanonicalEvent]], topic: str | None) -> None:
    """Raise TypeError if the annotation of the first parameter does not fit what the worker names."""
    members = union_members(hint)
    if any(_is_open(each) for each in members):
        return
    others = [each for each in members if not any(_admits(each, event) for event in ANY_EVENT)]
    if strangers := [each for each in others if each is not type(None)] or (others if len(members) == 1 else []):
        raise TypeError(
            f"{name!r} is the first parameter, which receives the event, but is annotated with {names_of(strangers)}"
        )
    named = {each for each in members if is_event(each)}
    if topic is not None:
        never = {each for each in named if not can_match(topic, event_topic(each))}
        if never and named != ANY_EVENT:
            raise TypeError(f"{name!r} is annotated with {names_of(never)}, which topic {topic!r} does not match")
    elif named != ANY_EVENT and (surplus := named.difference(events)):
        raise TypeError(f"{name!r} is annotated with {names_of(surplus)}, which @worker(…) does not name")
    elif missing := [each for each in events if not any(_admits(member, each) for member in members)]:
        raise TypeError(f"@worker(…) names {names_of(missing)}, but {name!r} is not annotated with it")


def _check_delivery(parameter: inspect.Parameter, hint: Any) -> None:
    """Raise TypeError if the second parameter seems to be meant for something else than the Delivery."""
    members = [each for each in union_members(hint) if each is not type(None)]
    if not any(_is_open(each) or _admits(each, Delivery) for each in members):
        raise TypeError(f"{parameter.name!r} receives the Delivery, but is annotated with {names_of(members)}")
    if parameter.default not in (parameter.empty, None):
        raise TypeError(
            f"{parameter.name!r} receives the Delivery, so that its default {parameter.default!r} is never used; "
            f"write `*, {parameter.name}={parameter.default!r}` to keep it"
        )


def _admits(member: Any, kind: type) -> bool:
    """Whether a class, maybe with its parameters, is that of a value of this kind."""
    origin = typing.get_origin(member) or member
    return isinstance(origin, type) and issubclass(kind, origin)


def _is_open(member: Any) -> bool:
    """Whether an annotation says nothing of the class: Any, a type variable, a protocol."""
    origin = typing.get_origin(member) or member
    if origin is not Any and isinstance(origin, type):  # Any is a class since Python 3.11
        return bool(getattr(origin, "_is_protocol", False))
    return origin is not typing.Literal


def _annotation(function: Callable[..., Any], parameter: inspect.Parameter) -> Any:
    """A parameter's annotation as a type. Any if it has none, or one that exists only for a type checker."""
    if parameter.annotation is parameter.empty:
        return Any
    alone = types.SimpleNamespace(__annotations__={parameter.name: parameter.annotation})
    try:
        return typing.get_type_hints(alone, getattr(inspect.unwrap(function), "__globals__", {}))[parameter.name]
    except (NameError, AttributeError, TypeError, SyntaxError):
        return Any
