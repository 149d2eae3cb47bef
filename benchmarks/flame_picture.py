"""Flame graphs as SVG without scripts, so that a page can show them as pictures.

The width of a frame is the CPU time spent in it and in the functions that it called, which are drawn above it. The
colour shows the package.
"""

from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, field
from html import escape

from benchmarks.stacks import Stack

_WIDTH, _MARGIN, _FRAME, _HEAD = 1200.0, 10.0, 17.0, 58.0
_NARROWEST = 1.0
_CHARACTER = 6.1
_COLOURS = {
    "ingress": "#f2a65a", "schemas": "#8cc084", "broker": "#7fb2e5", "workers": "#e58f9b", "hookline": "#c7a6dd",
    "benchmarks": "#d9d36f", "aiohttp": "#f5d7a8", "aiormq": "#c3d9ee", "aio_pika": "#c3d9ee",
}  # fmt: skip
_OTHERS = "#d8d8d8"


@dataclass(slots=True)
class _Frame:
    """A function called from one place, and the CPU time spent in it and in what it called."""

    cpu_us: float = 0.0
    callees: "dict[str, _Frame]" = field(default_factory=dict)


def drawn(stacks: Mapping[Stack, float], title: str) -> str:
    """The whole picture. Frames that would be narrower than a pixel are left out."""
    root = _tree(stacks)
    height = _HEAD + _FRAME * (1 + max(map(len, stacks))) + _MARGIN
    boxes = _boxes("all", root, _MARGIN, height - _MARGIN - _FRAME, (_WIDTH - 2 * _MARGIN) / root.cpu_us)
    view, font = f"0 0 {_WIDTH:.0f} {height:.0f}", "Verdana, DejaVu Sans, sans-serif"
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{view}" font-family="{font}" font-size="10">',
        '<rect width="100%" height="100%" fill="#ffffff"/>',
        f'<text x="{_MARGIN}" y="22" font-size="15">{escape(title)}</text>',
        *_legend({_package(name) for stack in stacks for name in stack}),
        *boxes,
        "</svg>\n",
    ])  # fmt: skip


def _tree(stacks: Mapping[Stack, float]) -> _Frame:
    root = _Frame()
    for stack, cpu_us in stacks.items():
        frame = root
        frame.cpu_us += cpu_us
        for name in stack:
            frame = frame.callees.setdefault(name, _Frame())
            frame.cpu_us += cpu_us
    return root


def _legend(packages: Container[str]) -> Iterator[str]:
    found = [(name, colour) for name, colour in _COLOURS.items() if name in packages]
    for number, (name, colour) in enumerate([*found, ("others", _OTHERS)]):
        left = _MARGIN + number * 100
        yield f'<rect x="{left}" y="32" width="12" height="12" fill="{colour}"/>'
        yield f'<text x="{left + 16}" y="42">{name}</text>'


def _boxes(name: str, frame: _Frame, left: float, top: float, scale: float) -> Iterator[str]:
    """A frame and all frames above it. `scale` is the width of a microsecond."""
    width = frame.cpu_us * scale
    if width < _NARROWEST:
        return
    yield f"<g><title>{escape(name)}: {frame.cpu_us:.2f} µs</title>"
    box = f'x="{left:.1f}" y="{top:.0f}" width="{width:.1f}" height="{_FRAME - 1:.0f}"'
    yield f'<rect {box} fill="{_COLOURS.get(_package(name), _OTHERS)}" stroke="#ffffff" stroke-width="0.5"/>'
    if label := _fitted(name.partition(" (")[0], width):
        yield f'<text x="{left + 3:.1f}" y="{top + 12:.0f}">{escape(label)}</text>'
    yield "</g>"
    for callee, inner in sorted(frame.callees.items()):
        yield from _boxes(callee, inner, left, top - _FRAME, scale)
        left += inner.cpu_us * scale


def _package(name: str) -> str:
    """The package of a frame's file; for Hookline, the folder if it has a colour."""
    package, folder, *_ = *name.rpartition("(")[2].split("/"), ""
    return folder if package == "hookline" and folder in _COLOURS else package


def _fitted(text: str, width: float) -> str:
    room = int((width - 6) / _CHARACTER)
    if len(text) <= room:
        return text
    return f"{text[: room - 1]}…" if room > 3 else ""
