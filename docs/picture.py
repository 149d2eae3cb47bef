"""The picture of the way of one event, `docs/images/event.svg`, drawn from the names in the code."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from hookline.ingress.responses import STATUS
from hookline.schemas import topics
from hookline.schemas.broker import Again, Done, Parked
from hookline.schemas.errors import BadSignature, NotDurable
from hookline.schemas.provider import Reply

WIDTH, HEIGHT = 1120, 450
QUEUE = "attendance"
_LINE_HEIGHT, _TITLE_HEIGHT, _MARGIN = 19, 24, 12


@dataclass(frozen=True)
class Box:
    """A box with a title and one line of text below for each of `lines`."""

    x: int
    y: int
    width: int
    title: str
    lines: Sequence[str]
    colour: str

    @property
    def height(self) -> int:
        return _TITLE_HEIGHT + _LINE_HEIGHT * len(self.lines) + _MARGIN

    def svg(self) -> str:
        size = f'width="{self.width}" height="{self.height}"'
        left, top = self.x + _MARGIN, self.y + 20
        texts = [
            f'<text x="{left}" y="{top + _TITLE_HEIGHT - 2 + _LINE_HEIGHT * place}">{escape(line)}</text>'
            for place, line in enumerate(self.lines)
        ]
        return "\n".join(
            [
                f'<rect x="{self.x}" y="{self.y}" {size} rx="6" fill="{self.colour}"/>',
                f'<text class="title" x="{left}" y="{top}">{escape(self.title)}</text>',
                *texts,
            ]
        )


@dataclass(frozen=True)
class Arrow:
    """A line through points, with a head at its end, and a text that begins at `at`."""

    points: Sequence[tuple[int, int]]
    text: str
    at: tuple[int, int]

    def svg(self) -> str:
        line = " ".join(f"{x},{y}" for x, y in self.points)
        return (
            f'<polyline points="{line}" marker-end="url(#head)"/>\n'
            f'<text class="on-arrow" x="{self.at[0]}" y="{self.at[1]}">{escape(self.text)}</text>'
        )


def boxes() -> Sequence[Box]:
    ingress = (
        "verify   the raw bytes",
        "identify id, topic, subject",
        "seal     an envelope",
        "publish  and await the confirm",
    )
    queues = ("RabbitMQ, or a file", f"→ {topics.queue_name(QUEUE)}", "→ the queue of each", "  other worker")
    worker = ("open, normalise", "claim   handled before?", "handle  your function", "settle  by its outcome")
    return (
        Box(20, 50, 150, "Provider", ("a room begins,", "somebody joins,", "a file is ready"), "#e8eef7"),
        Box(290, 30, 265, "Ingress", ingress, "#e3f1e6"),
        Box(290, 230, 265, "Spool", ("a file on this machine, while", "RabbitMQ is away"), "#f3f3f3"),
        Box(660, 30, 215, topics.EXCHANGE, queues, "#f9efdd"),
        Box(660, 230, 215, "Worker", worker, "#e3f1e6"),
        Box(935, 170, 165, Done.__name__, ("acknowledged",), "#ffffff"),
        Box(935, 250, 165, Again.__name__, ("back to the queue", "after a delay"), "#ffffff"),
        Box(885, 350, 215, Parked.__name__, ("dead letter in", topics.dead_name(QUEUE)), "#ffffff"),
    )


def arrows() -> Sequence[Arrow]:
    refused, failed = STATUS[BadSignature], STATUS[NotDurable]
    return (
        Arrow(((170, 75), (288, 75)), "POST /hooks/…", (186, 68)),
        Arrow(((290, 105), (172, 105)), f"{Reply().status}: it is durable", (184, 99)),
        Arrow(((290, 130), (240, 130), (240, 200)), f"{refused}: not genuine", (190, 218)),
        Arrow(((555, 75), (658, 75)), "publish", (584, 68)),
        Arrow(((660, 105), (557, 105)), "confirm", (584, 99)),
        Arrow(((420, 142), (420, 228)), "not confirmed in time", (430, 190)),
        Arrow(((555, 255), (610, 255), (610, 130), (658, 130)), "later", (568, 272)),
        Arrow(((420, 304), (420, 345)), f"{failed}: the spool takes no more", (330, 364)),
        Arrow(((765, 142), (765, 228)), "deliver", (775, 190)),
        Arrow(((875, 250), (905, 250), (905, 195), (933, 195)), "", (0, 0)),
        Arrow(((875, 285), (933, 285)), "", (0, 0)),
        Arrow(((875, 320), (905, 320), (905, 348)), "", (0, 0)),
    )


_STYLE = """\
<style>
text { font: 13px ui-monospace, monospace; fill: #222; white-space: pre }
.title { font: 600 14px sans-serif }
.on-arrow { font: 12px sans-serif; fill: #444 }
rect { stroke: #667 }
polyline { fill: none; stroke: #445; stroke-width: 1.5 }
</style>
<defs>
<marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto">
<path d="M0,0 L8,4 L0,8 z" fill="#445"/>
</marker>
</defs>"""


def svg() -> str:
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-labelledby="t">',
            '<title id="t">The way of one event, from the provider to the outcome of a delivery</title>',
            _STYLE,
            f'<rect width="{WIDTH}" height="{HEIGHT}" rx="8" fill="#fff" style="stroke:none"/>',
            *(each.svg() for each in arrows()),
            *(each.svg() for each in boxes()),
            "</svg>\n",
        ]
    )
