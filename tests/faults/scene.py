"""What a scene is: one fault of `reliability` section 2.2, or several, provoked against a running installation."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from tests.faults.rig import Rig

Servers: TypeAlias = Literal["node", "cluster", "postgresql"]
Provoke: TypeAlias = Callable[["Rig"], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Scene:
    """`provoke` returns when the fault has ended.

    `refuses` allows answers other than 2xx, `slow` answers after 1.5 s, `repeats` a second call of the handler, `keeps`
    events that stay in a queue of unrouted events or dead letters, and `damages` is how many events it
    destroys on disk.
    """

    faults: Sequence[int]
    title: str
    provoke: Provoke
    servers: Servers = "node"
    settings: Mapping[str, str] = field(default_factory=dict)
    url: Callable[["Rig"], str] | None = None
    refuses: bool = False
    slow: bool = False
    repeats: bool = False
    keeps: bool = False
    damages: int = 0
    needs: Sequence[str] = ()

    @property
    def name(self) -> str:
        return ",".join(f"F{number}" for number in self.faults)


SCENES: list[Scene] = []


def scene(*faults: int, title: str, **options: object) -> Callable[[Provoke], Provoke]:
    """Add a scene to the catalogue."""

    def add(provoke: Provoke) -> Provoke:
        SCENES.append(Scene(faults, title, provoke, **options))  # type: ignore[arg-type]  # as Scene declares them
        return provoke

    return add
