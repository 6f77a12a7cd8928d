"""Interactive charts: Plotly figures in the style of the pages."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from plotly.io.json import to_json_plotly  # type: ignore[import-untyped]

INK, EDGE, MUTED, ACCENT, GOOD, BAD = (
    "#1b1c1e", "#dfe0e2", "#8a8f98", "#1f5fbf", "#11733f", "#b0311f",
)  # fmt: skip

SERIES = (
    "#1769aa", "#d1570b", "#0f8a63", "#b04a93", "#8a6a00",
    "#3aa0d8", "#6c51d4", "#a83b3b", "#55781a", "#5d6b7b",
)  # fmt: skip
"""Colors of systems, as `--s0` to `--s9` in the style sheet; more systems repeat them dashed."""

_FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif'
_LONGEST_NAME = 16
_VERDICTS = {"better": GOOD, "worse": BAD, "other": INK, "unclear": MUTED}


class Figure(NamedTuple):
    """A chart: `json` is safe inside a script element."""

    json: str
    label: str


class Interval(NamedTuple):
    """One row of a chart of intervals."""

    name: str
    value: float  # Position of the dot.
    low: float | None  # Ends of the bar; None for no bar.
    high: float | None
    text: str  # Shown on hover.
    verdict: str  # `better`, `worse`, `other` (neither direction is better) or `unclear`.


def style_class(index: int) -> str:
    """Return the CSS classes of a system's color."""
    return f"s{index % len(SERIES)}" + (" dashed" if index >= len(SERIES) else "")


def make_figure(
    data: Sequence[Mapping[str, Any]],
    label: str,
    *,
    xaxis: dict[str, Any],
    yaxis: dict[str, Any],
    **layout: Any,
) -> Figure:
    """Return a figure in the style of the pages, from Plotly's traces and layout."""
    axis: dict[str, Any] = {"zeroline": False, "gridcolor": EDGE, "automargin": True}
    styled = {
        "margin": {"l": 56, "r": 16, "t": 30, "b": 56},
        "hovermode": "closest",
        "font": {"family": _FONT, "size": 12, "color": INK},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "dragmode": False,
        "xaxis": axis | xaxis,
        "yaxis": axis | yaxis,
        **layout,
    }
    # Plotly escapes `</script>` in values.
    return Figure(to_json_plotly({"data": data, "layout": styled}), label)


def line_trace(name: str, index: int, points: Sequence[tuple[float, float]]) -> dict[str, Any]:
    """Return the line of a system, by index, through (x, y) points."""
    return {
        "type": "scatter",
        "mode": "lines+markers" if len(points) == 1 else "lines",
        "name": name,
        "x": [x for x, _ in points],
        "y": [y for _, y in points],
        "line": {
            "color": SERIES[index % len(SERIES)],
            "width": 2,
            "dash": "dash" if index >= len(SERIES) else "solid",
        },
    }


def interval_figure(rows: Sequence[Interval], label: str) -> Figure:
    """Return a chart of differences around 0, one row each, from top to bottom."""
    data = []
    for position, row in enumerate(rows):
        color = _VERDICTS[row.verdict]
        trace: dict[str, Any] = {
            "type": "scatter",
            "mode": "markers",
            "name": row.name,
            "x": [row.value],
            "y": [position],
            "hovertemplate": f"{row.text}<extra></extra>",
            "marker": {
                "color": color,
                "size": 9,
                "symbol": "circle-open" if row.verdict == "unclear" else "circle",
            },
        }
        if row.low is not None and row.high is not None:
            trace["error_x"] = {
                "type": "data",
                "symmetric": False,
                "array": [row.high - row.value],
                "arrayminus": [row.value - row.low],
                "color": color,
                "thickness": 2.5,
                "width": 0,
            }
        data.append(trace)
    return make_figure(
        data,
        label,
        xaxis={"zeroline": True, "zerolinecolor": MUTED, "nticks": 5, "rangemode": "tozero"},
        yaxis={
            "tickvals": list(range(len(rows))),
            "ticktext": [_shorten(row.name) for row in rows],
            "range": [len(rows) - 0.5, -0.5],
            "showgrid": False,
        },
        height=50 + 26 * len(rows),
        margin={"l": 56, "r": 16, "t": 12, "b": 30},
        showlegend=False,
    )


def _shorten(name: str) -> str:
    """Return a name without its middle where it is long: names often differ at their ends."""
    half = _LONGEST_NAME // 2
    return name if len(name) <= _LONGEST_NAME else f"{name[: half - 1]}…{name[-half:]}"
