"""Line charts and intervals as inline SVG; colours are classes, so that the page's CSS decides."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

STYLES = 10
"""Colours of lines, then they begin again with dashes: classes `s0` to `s9`, and `dashed`."""

MINUS = "\N{MINUS SIGN}"

_WIDTH, _HEIGHT = 460, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 50, 12, 10, 38


@dataclass(frozen=True)
class Line:
    """One line of a chart.

    Attributes:
        name: Shown where the pointer rests on it.
        style: Number of its colour.
        points: Its (x, y).
    """

    name: str
    style: int
    points: list[tuple[float, float]]


@dataclass(frozen=True)
class Interval:
    """One row of a chart of intervals.

    Attributes:
        name: Stands at its left.
        style: Number of its colour.
        value: Where the dot is.
        low: Where the bar begins; None for no bar.
        high: Where it ends.
        shown: The numbers in words.
        verdict: `better`, `worse`, `other` (neither way is better) or `unclear`.
    """

    name: str
    style: int
    value: float
    low: float | None
    high: float | None
    shown: str
    verdict: str


def style_class(number: int) -> str:
    """Return the CSS classes of a system's colour."""
    return f"s{number % STYLES}" + (" dashed" if number >= STYLES else "")


def line_chart(lines: Sequence[Line], title: str, x_name: str) -> Markup:
    """Return a chart of lines.

    Args:
        lines: At least one of them with points.
        title: Says what it shows to those who do not see it.
        x_name: Below the axis.
    """
    xs = [x for line in lines for x, _ in line.points]
    ys = [y for line in lines for _, y in line.points]
    x_ticks, y_ticks = ticks(min(0.0, *xs), max(xs)), ticks(min(ys), max(ys))
    x_range = (min(x_ticks[0], *xs), max(x_ticks[-1], *xs))
    y_range = (min(y_ticks[0], *ys), max(y_ticks[-1], *ys))

    def place(x: float, y: float) -> tuple[str, str]:
        across = (x - x_range[0]) / (x_range[1] - x_range[0])
        up = (y - y_range[0]) / (y_range[1] - y_range[0])
        return (
            _n(_LEFT + across * (_WIDTH - _LEFT - _RIGHT)),
            _n(_HEIGHT - _BOTTOM - up * (_HEIGHT - _TOP - _BOTTOM)),
        )

    parts = []
    for tick in y_ticks:
        _, y = place(x_range[0], tick)
        parts.append(f'<path class="grid" d="M{_LEFT} {y}H{_WIDTH - _RIGHT}"/>')
        parts.append(_text(_LEFT - 7, y, _tick(tick, y_ticks), "end", "0.34em"))
    for tick in x_ticks:
        x, _ = place(tick, y_range[0])
        parts.append(_text(x, _HEIGHT - _BOTTOM + 17, _tick(tick, x_ticks), "middle"))
    parts.append(_text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 5, x_name, "middle"))
    for line in lines:
        if not line.points:
            continue
        places = [place(*point) for point in line.points]
        path = "M" + "L".join(f"{x} {y}" for x, y in places)
        last = f"{line.name}: {line.points[-1][1]:.4g}"
        dots = "".join(f'<circle cx="{x}" cy="{y}" r="2.6"/>' for x, y in places[-1:])
        parts.append(
            f'<g class="line {style_class(line.style)}"><title>{escape(last)}</title>'
            f'<path d="{path}"/>{dots}</g>'
        )
    return _svg(_WIDTH, _HEIGHT, title, parts, "chart lines")


def interval_chart(rows: Sequence[Interval], title: str) -> Markup:
    """Return a chart of differences around 0, a row each.

    Args:
        rows: At least one.
        title: Says what it shows to those who do not see it.
    """
    width, left, right, step, top = 400, 150, 16, 25, 6
    height = top + step * len(rows) + 24
    ends = [v for row in rows for v in (row.value, row.low, row.high) if v is not None]
    low, high = min(0.0, *ends), max(0.0, *ends)
    marks = ticks(low, high, 3)
    low, high = min(marks[0], low), max(marks[-1], high)

    def across(value: float) -> str:
        return _n(left + (value - low) / (high - low) * (width - left - right))

    parts = []
    for mark in marks:
        kind = "zero" if mark == 0 else "grid"
        parts.append(f'<path class="{kind}" d="M{across(mark)} {top}V{height - 20}"/>')
        parts.append(_text(across(mark), height - 5, _tick(mark, marks, sign=True), "middle"))
    for number, row in enumerate(rows):
        y = top + step * (number + 0.5)
        swatch = f'<circle class="swatch" cx="6" cy="{_n(y)}" r="4.5"/>'
        parts.append(f'<g class="{style_class(row.style)}">{swatch}</g>')
        # Names differ at their ends as often as at their beginnings.
        name = row.name if len(row.name) <= 16 else f"{row.name[:7]}…{row.name[-8:]}"
        parts.append(_text(17, _n(y), name, "start", "0.34em", "name"))
        bar = ""
        if row.low is not None and row.high is not None:
            bar = f'<path d="M{across(row.low)} {_n(y)}H{across(row.high)}"/>'
        parts.append(
            f'<g class="interval {row.verdict}"><title>{escape(f"{row.name}: {row.shown}")}</title>'
            f'<rect x="0" y="{_n(y - step / 2)}" width="{width}" height="{step}"/>'
            f'{bar}<circle cx="{across(row.value)}" cy="{_n(y)}" r="4.5"/></g>'
        )
    return _svg(width, height, title, parts, "chart intervals")


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Return round numbers over a range: multiples of 1, 2 or 5 times a power of ten."""
    if high <= low:
        low, high = low - max(abs(low), 1e-3) * 0.05, high + max(abs(high), 1e-3) * 0.05
    raw = (high - low) / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [number * step for number in range(first, last + 1)]


def _tick(value: float, marks: Sequence[float], *, sign: bool = False) -> str:
    step = marks[1] - marks[0]
    if abs(marks[-1]) >= 10_000:
        return f"{value / 1000:g}k"
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    return f"{value:{'+' if sign and value else ''}.{decimals}f}".replace("-", MINUS)


def _text(
    x: float | str, y: float | str, text: str, anchor: str, dy: str = "0", kind: str = "tick"
) -> str:
    place = f'x="{x}" y="{y}" dy="{dy}" text-anchor="{anchor}"'
    return f'<text class="{kind}" {place}>{escape(text)}</text>'


def _svg(width: int, height: int, title: str, parts: Sequence[str], kind: str) -> Markup:
    # Nothing unescaped gets into the parts: numbers of ours, and texts through `escape`.
    return Markup(
        f'<svg class="{kind}" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{escape(title)}">{"".join(parts)}</svg>'
    )


def _n(number: float) -> str:
    return f"{number:.1f}".removesuffix(".0")
