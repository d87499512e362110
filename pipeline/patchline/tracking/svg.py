"""A few SVG shapes and scales: enough for the charts of the report, without a plotting library or the network."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cache
from typing import Any

INK = "#1c2733"
MUTED = "#66727f"
GRID = "#e3e8ee"
BEFORE = "#c3ccd6"
ACCENT = "#0b7a75"
LIMIT = "#c2410c"
KINDS = {"layer": "#44678f", "stream": "#0b7a75", "patch": "#d99a2b"}
BUFFERS = {
    "tensor": "#5b8db8",
    "ring": "#0b7a75",
    "row": "#5cc0a8",
    "input": "#d99a2b",
    "accumulator": "#9466b0",
    "scratch": "#b9c2cc",
}


@dataclass(frozen=True)
class Rect:
    """A filled rectangle in pixels; `tip` shows when a mouse rests on it."""

    x: float
    y: float
    width: float
    height: float
    fill: str
    tip: str = ""
    stroke: str = "none"
    shape: str = "rect"


@dataclass(frozen=True)
class Line:
    x1: float
    y1: float
    x2: float
    y2: float
    stroke: str = GRID
    dash: str = ""
    width: float = 1.0
    shape: str = "line"


@dataclass(frozen=True)
class Label:
    """Text at a point; `turn` rotates it around that point (degrees)."""

    x: float
    y: float
    text: str
    anchor: str = "start"
    fill: str = MUTED
    size: float = 11
    weight: str = "normal"
    turn: float = 0
    shape: str = "label"


@dataclass(frozen=True)
class Path:
    """A polyline or a closed shape given as SVG path data."""

    data: str
    fill: str = "none"
    stroke: str = INK
    tip: str = ""
    shape: str = "path"


Shape = Rect | Line | Label | Path


@dataclass
class Chart:
    """Shapes on a canvas of `width` x `height` pixels; `summary` is what a screen reader says."""

    width: float
    height: float
    summary: str
    shapes: list[Shape] = field(default_factory=list)

    def add(self, *shapes: Shape) -> None:
        self.shapes.extend(shapes)


@dataclass(frozen=True)
class Scale:
    """Maps [low, high] linearly to pixels [start, stop]."""

    low: float
    high: float
    start: float
    stop: float

    def __call__(self, value: float) -> float:
        span = (self.high - self.low) or 1.0
        return round(self.start + (value - self.low) / span * (self.stop - self.start), 2)

    def ticks(self, about: int = 5) -> list[float]:
        """Round values inside the range, about `about` of them."""
        span = self.high - self.low
        if span <= 0:
            return [self.low]
        raw = span / about
        power = 10.0 ** math.floor(math.log10(raw))
        step = next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= raw * 0.999)
        first = math.ceil(self.low / step - 1e-9)
        return [round(i * step, 10) for i in range(first, math.floor(self.high / step + 1e-9) + 1)]


def number(value: float) -> str:
    """A short number: about three significant digits, no trailing zeros."""
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 3
    text = f"{value:.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def kb(size: float) -> str:
    """Bytes as KB (1 KB = 1024 bytes), as everywhere in Patchline."""
    return f"{size / 1024:.1f}".removesuffix(".0") + " KB" if abs(size) < 1000 * 1024 else f"{size / 1024:.0f} KB"


def star(x: float, y: float, radius: float, fill: str, tip: str = "") -> Path:
    points = []
    for i in range(10):
        r = radius if i % 2 == 0 else radius * 0.45
        angle = math.pi * i / 5 - math.pi / 2
        points.append(f"{x + r * math.cos(angle):.1f} {y + r * math.sin(angle):.1f}")
    return Path("M" + "L".join(points) + "Z", fill=fill, stroke="#ffffff", tip=tip)


def shorten(text: str, length: int = 12) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


@cache
def environment() -> Any:
    """Jinja2 environment over the templates beside this file; everything is escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    env = Environment(
        loader=PackageLoader("patchline.tracking"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.filters["kb"] = kb
    env.filters["number"] = number
    return env


def render(chart: Chart, *, standalone: bool = False) -> str:
    """The chart as SVG text; `standalone` for a file of its own (white background, XML namespace)."""
    return str(environment().get_template("chart.svg.j2").render(chart=chart, standalone=standalone))
