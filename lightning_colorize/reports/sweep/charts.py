"""Optuna's charts of a study, drawn for this page."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import optuna
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial, TrialState
from plotly.colors import label_rgb, unlabel_rgb  # type: ignore[import-untyped]
from plotly.io.json import to_json_plotly  # type: ignore[import-untyped]

from lightning_colorize.reports.sweep.axes import log_ticks, whole_numbers
from lightning_colorize.sweeps.hyperband import cost
from lightning_colorize.sweeps.spec import Metric

if TYPE_CHECKING:
    from plotly.graph_objects import Figure  # type: ignore[import-untyped]

_FEWEST_FOR_IMPORTANCE = 10
_FEW_FOR_IMPORTANCE = 50
_INK, _FAINT, _MUTED, _ACCENT = "#1b1c1e", "#dfe0e2", "#8a8f98", "#1f5fbf"
_FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif'


@dataclass(frozen=True)
class Chart:
    """A chart, or why there is none.

    Attributes:
        title: Above it.
        says: What is seen, or why nothing is.
        figures: Plotly's JSON, and for each what it shows; empty for none.
        wide: Pixels below which it is scrolled rather than squeezed.
    """

    title: str
    says: str
    figures: Sequence[tuple[str, str]] = ()
    wide: int = 0


def draw_charts(study: optuna.Study, metric: Metric, winner: int | None) -> list[Chart]:
    """Return all charts of a study.

    Args:
        study: As `plain_study` makes it.
        metric: What it looks for.
        winner: The number of the best trial, which is drawn in colour.
    """
    trials = study.get_trials(deepcopy=False)
    done = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    names = sorted({name for trial in done for name in trial.params})
    return [
        _history(study, metric, done),
        _curves(study, metric, trials, winner),
        _importance(study, metric, done, names),
        _coordinates(study, metric, done, names),
        _effects(study, metric, done, names),
    ]


def _history(study: optuna.Study, metric: Metric, done: Sequence[FrozenTrial]) -> Chart:
    title = "Progress of the search"
    if len(done) < 2:
        return Chart(title, _too_few(done, 2))
    figure = _plain(optuna.visualization.plot_optimization_history(study, target_name=metric.name))
    dots, line = figure["data"][:2]
    dots |= {"name": "a trial", "marker": {"color": _MUTED, "size": 7}}
    line |= {"name": "best so far", "line": {"color": _ACCENT, "width": 2.5}}
    figure["layout"] |= {
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom"},
        "xaxis": whole_numbers(trial.number for trial in done),
    }
    says = "Each finished trial, and the best up to it."
    return Chart(title, says, [_json(figure, f"{metric.name} by trial", "trial")])


def _curves(
    study: optuna.Study, metric: Metric, trials: Sequence[FrozenTrial], winner: int | None
) -> Chart:
    title = "While they were trained"
    if not any(trial.intermediate_values for trial in trials):
        return Chart(title, f"No validation has logged {metric.name}.")
    figure = _plain(optuna.visualization.plot_intermediate_values(study))
    for trace in figure["data"]:
        number = int(trace["name"].removeprefix("Trial"))
        best = number == winner
        trace |= {
            "name": f"trial {number}",
            "line": {"color": _ACCENT if best else _MUTED, "width": 2.5 if best else 1},
            "marker": {"size": 6 if best else 3},
            "opacity": 1 if best else 0.55,
            "showlegend": False,
        }
    figure["layout"]["xaxis"] = whole_numbers(
        step for trial in trials for step in trial.intermediate_values
    )
    # What is drawn last lies above the rest.
    figure["data"].sort(key=lambda trace: trace["opacity"])
    says = "Each trial over its validations, pruned ones included"
    says += "." if winner is None else f"; trial {winner}, the winner, in colour."
    shows = f"{metric.name} by validation, a line a trial"
    return Chart(title, says, [_json(figure, shows, "validation", metric.name)])


def _importance(
    study: optuna.Study, metric: Metric, done: Sequence[FrozenTrial], names: Sequence[str]
) -> Chart:
    title = "Importance of parameters"
    if len(names) < 2:
        return Chart(title, _no_two(names))
    if len(done) < _FEWEST_FOR_IMPORTANCE:
        return Chart(title, _too_few(done, _FEWEST_FOR_IMPORTANCE))
    costs = sorted(cost(trial.values[0], metric.goal) for trial in done)
    if costs[max(2, math.ceil(len(done) / 10)) - 1] == costs[-1]:
        return Chart(title, "Left out: the best trials are no better than the rest.")
    # Optuna's own chart of these copies all trials once for each parameter.
    shares = get_param_importances(study, evaluator=PedAnovaImportanceEvaluator())
    bars = {
        "type": "bar",
        "orientation": "h",
        # The largest on top.
        "x": list(shares.values())[::-1],
        "y": list(shares)[::-1],
        "text": [f"{share:.2f}" for share in shares.values()][::-1],
        "textposition": "outside",
        "cliponaxis": False,
        "marker": {"color": _ACCENT},
        "hoverinfo": "skip",
    }
    layout = {"height": 110 + 34 * len(names), "xaxis": {"range": [0, 1.1]}, "yaxis": {}}
    figure = {"data": [bars], "layout": layout}
    says = (
        "How much the best tenth of the finished trials (at least two) differs from all of them "
        f"in each parameter (PED-ANOVA), as shares of 1; from {len(done)} trials"
    )
    says += ", so a hint, no finding." if len(done) < _FEW_FOR_IMPORTANCE else "."
    return Chart(title, says, [_json(figure, "share of each parameter", "share")])


def _coordinates(
    study: optuna.Study, metric: Metric, done: Sequence[FrozenTrial], names: Sequence[str]
) -> Chart:
    title = "Parallel coordinates"
    if len(names) < 2:
        return Chart(title, _no_two(names))
    figure = _plain(optuna.visualization.plot_parallel_coordinate(study, target_name=metric.name))
    figure["layout"]["height"] = 420
    _strengthen(figure)
    says = f"Each finished trial is a line; the stronger it is, the better its {metric.name}."
    wide = 130 * (len(names) + 2)
    shows = f"{metric.name} and all parameters"
    return Chart(title, says, [_json(figure, shows)], wide)


def _effects(
    study: optuna.Study, metric: Metric, done: Sequence[FrozenTrial], names: Sequence[str]
) -> Chart:
    title = "Effect of each parameter"
    if not names:
        return Chart(title, "No parameter has two values among the finished trials.")
    figures = []
    for name in names:
        drawn = optuna.visualization.plot_slice(study, [name], target_name=metric.name)
        numbers = list(drawn.data[0].marker.color)
        figure = _plain(drawn)
        figure["data"][0] |= {
            "text": [f"trial {number}" for number in numbers],
            "marker": {"color": _ACCENT, "size": 8, "opacity": 0.6},
        }
        axis = figure["layout"]["xaxis"]
        if axis.get("type") == "log":
            axis |= log_ticks(figure["data"][0]["x"])
        figure["layout"]["height"] = 290
        figures.append(_json(figure, f"{metric.name} by {name}"))
    says = "Each finished trial by one of its values, whatever the others are."
    return Chart(title, says, figures)


def _strengthen(figure: dict[str, Any]) -> None:
    """Darken Optuna's colours, whose palest are all but white."""
    for trace in figure["data"]:
        # Each line has its colour; before Optuna 5 one trace has a scale for all.
        line = trace.get("line", {})
        if isinstance(line.get("color"), str):
            line["color"] = _darker(line["color"])
            trace["opacity"] = 0.8
        for holder in (line, trace.get("marker", {})):
            if "colorscale" in holder:
                holder["colorscale"] = [
                    [place, _darker(color)] for place, color in holder["colorscale"]
                ]


def _darker(color: str) -> str:
    darker: str = label_rgb(tuple(round(0.6 * part) for part in unlabel_rgb(color)))
    return darker


def _plain(figure: "Figure") -> dict[str, Any]:
    """Return a figure as dictionaries: to change them takes a hundredth of the time."""
    content: dict[str, Any] = figure.to_dict()
    return content


def _json(figure: dict[str, Any], shows: str, x: str = "", y: str = "") -> tuple[str, str]:
    """Return a figure's JSON in this page's style, and what it shows.

    Args:
        figure: Optuna's.
        shows: What it shows.
        x: What stands at its horizontal axis, if not Optuna's words.
        y: The same of the vertical one.
    """
    # Optuna's title stands above the figure, its template is a light page's.
    layout: dict[str, Any] = {"height": 340, **figure["layout"], "title": None, "template": None}
    layout |= {
        "font": {"family": _FONT, "size": 12, "color": _INK},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "margin": {"l": 56, "r": 16, "t": 30, "b": 56},
        "dragmode": False,
    }
    for name, words in (("xaxis", x), ("yaxis", y)):
        axis = layout.get(name, {})
        layout[name] = {**axis, "gridcolor": _FAINT, "zeroline": False, "automargin": True}
        if words:
            layout[name]["title"] = {"text": words}
    return to_json_plotly({"data": figure["data"], "layout": layout}), shows


def _too_few(done: Sequence[FrozenTrial], fewest: int) -> str:
    return f"Left out: it takes {fewest} finished trials, and there are {len(done)}."


def _no_two(names: Sequence[str]) -> str:
    only = f" (only {names[0]})" if names else ""
    return f"Left out: it takes two parameters that differ among the finished trials{only}."
