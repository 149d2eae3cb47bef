"""Imports point inwards, no two modules import each other, and `schemas` is pure."""

import ast
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parent.parent
ALLOWED: Mapping[str, frozenset[str]] = {
    "schemas": frozenset({"schemas"}),
    "aio": frozenset({"aio"}),
    "sqlite": frozenset({"sqlite", "aio", "schemas"}),
    "ingress": frozenset({"ingress", "aio", "schemas"}),
    "broker": frozenset({"broker", "aio", "sqlite", "schemas"}),
    "workers": frozenset({"workers", "aio", "sqlite", "schemas"}),
}
"""What each room may import. The rest of `hookline` wires the rooms together, and may import all of them."""
LINKED = ("schemas", "ingress", "broker", "workers")
IMPURE = {"asyncio", "os", "time", "socket", "random", "secrets", "subprocess", "threading", "pathlib", "ssl", "http"}


def modules() -> dict[str, Path]:
    """Every module of the package by its name, reached through the links in `hookline/`."""
    found = {}
    for folder in (ROOT / "hookline", *(ROOT / room for room in LINKED)):
        prefix = () if folder.name == "hookline" else ("hookline",)
        for path in sorted(folder.rglob("*.py")):
            parts = (*prefix, *path.relative_to(ROOT).with_suffix("").parts)
            if path.resolve() == path:
                found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()
OF_SCHEMAS = sorted(name for name in MODULES if name.startswith("hookline.schemas"))


@cache
def imported(path: Path) -> frozenset[str]:
    """The modules that a module imports, also within functions and for type checks alone."""
    return frozenset(_imported(path))


def _imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports name their package"
            source = node.module or ""
            yield from {
                f"{source}.{alias.name}" if f"{source}.{alias.name}" in MODULES else source for alias in node.names
            }


def room(module: str) -> str:
    """The room of a module; `hookline` for what wires the rooms together."""
    word = module.split(".")[1] if "." in module else ""
    return word if word in ALLOWED else "hookline"


def circle(graph: Mapping[str, Sequence[str]]) -> Sequence[str]:
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def found(names: Iterable[str], wrong: Callable[[str], set[str]]) -> Mapping[str, set[str]]:
    """What is wrong in each of these modules, without those in which nothing is."""
    return {name: bad for name in names if (bad := wrong(name))}


def test_imports_point_inwards() -> None:
    def outwards(module: str) -> set[str]:
        ours = {room(name) for name in imported(MODULES[module]) if name.partition(".")[0] == "hookline"}
        return ours - ALLOWED[room(module)]

    inner = [name for name in MODULES if room(name) in ALLOWED]
    assert {room(name) for name in inner} == set(ALLOWED)
    assert found(inner, outwards) == {}


def test_nothing_is_imported_from_tests_or_past_the_links() -> None:
    first = {name.partition(".")[0] for path in MODULES.values() for name in imported(path)}
    assert not first & {*LINKED, "tests", "benchmarks"}


def test_no_two_modules_import_each_other() -> None:
    graph = {name: [each for each in imported(path) if each in MODULES] for name, path in MODULES.items()}
    assert circle(graph) == []


def test_schemas_is_pure() -> None:
    pure = {"hookline", "msgspec"} | set(sys.stdlib_module_names) - IMPURE
    assert OF_SCHEMAS
    assert found(OF_SCHEMAS, lambda name: {each.partition(".")[0] for each in imported(MODULES[name])} - pure) == {}


WIRE = "hookline.broker.rabbitmq.wire"
OF_RABBITMQ = sorted(name for name in MODULES if name.startswith("hookline.broker.rabbitmq"))
PUBLIC = frozenset({"aiormq.abc", "aiormq.exceptions"})
PRIVATE = frozenset({"confirmations", "connection_tune", "kwargs", "ready", "transport_factory", "write_queue"})
"""Attributes of aiormq and aio-pika that are undocumented, or that change what a call guarantees."""


def amqp_imports(path: Path) -> set[str]:
    """What a module imports from the AMQP libraries, except aiormq's types and exceptions."""
    return {name for name in imported(path) if name.partition(".")[0] in {"aio_pika", "aiormq", "pamqp"}} - PUBLIC


def private_names(path: Path) -> set[str]:
    """The private names of aiormq and aio-pika that a module uses."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)} & PRIVATE


def test_only_the_wire_room_imports_more_than_types_and_exceptions_of_the_amqp_libraries() -> None:
    others = [name for name in MODULES if not name.startswith(WIRE)]
    assert found(others, lambda name: amqp_imports(MODULES[name])) == {}


def test_only_the_rabbitmq_broker_imports_aiormq() -> None:
    others = [name for name in MODULES if name not in OF_RABBITMQ]
    assert found(others, lambda name: {*imported(MODULES[name])} & PUBLIC) == {}


def test_only_the_wire_room_uses_private_names_of_the_amqp_libraries() -> None:
    others = [name for name in OF_RABBITMQ if not name.startswith(WIRE)]
    assert found(others, lambda name: private_names(MODULES[name])) == {}


def test_the_wire_room_uses_private_names_of_the_amqp_libraries() -> None:
    """If it fails, the tests before this one look for the wrong names."""
    wire = [path for name, path in MODULES.items() if name.startswith(WIRE)]
    assert {"aio_pika", "aiormq", "pamqp.commands"} <= set().union(*map(amqp_imports, wire))
    assert {"kwargs", "ready", "connection_tune"} <= set().union(*map(private_names, wire))
