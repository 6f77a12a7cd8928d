"""Charts of a sweep's trials: Optuna's figures in the style of the pages."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import optuna
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial, TrialState
from plotly.colors import label_rgb, unlabel_rgb  # type: ignore[import-untyped]

from lightning_colorize.metrics.spec import cost
from lightning_colorize.reports.kit.charts import (
    ACCENT,
    MUTED,
    Figure,
    integer_axis,
    log_axis,
    make_figure,
)
from lightning_colorize.reports.sweep.plain_study import plain_study
from lightning_colorize.sweeps.spec import Metric, Sweep
from lightning_colorize.sweeps.status import Labels, TrialRow

if TYPE_CHECKING:
    import plotly.graph_objects as go  # type: ignore[import-untyped]

_MIN_FOR_IMPORTANCE = 10
_FEW_FOR_IMPORTANCE = 50


class Chart(NamedTuple):
    """One subject: its heading, its figures, and what they show or why there are none."""

    title: str
    text: str
    figures: Sequence[Figure] = ()


def draw_charts(
    table: Sequence[TrialRow], sweep: Sweep, metric: Metric, labels: Labels, winner: int | None
) -> list[Chart]:
    """Return all charts of a sweep; the trial with the number `winner` is highlighted."""
    study = plain_study(table, sweep, metric, labels)
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
    title = "Optimization history"
    if len(done) < 2:
        return Chart(title, _too_few(done, 2))
    drawn = optuna.visualization.plot_optimization_history(study, target_name=metric.name)
    data, layout = _plain(drawn)
    dots, line = data[:2]
    dots |= {"name": "trial", "marker": {"color": MUTED, "size": 7}}
    line |= {"name": "best so far", "line": {"color": ACCENT, "width": 2.5}}
    layout |= {
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom"},
        "xaxis": integer_axis(trial.number for trial in done),
    }
    figure = make_figure(data, layout, f"{metric.name} by trial", x="trial")
    return Chart(title, "Each finished trial, and the best so far.", [figure])


def _curves(
    study: optuna.Study, metric: Metric, trials: Sequence[FrozenTrial], winner: int | None
) -> Chart:
    title = "Training curves"
    if not any(trial.intermediate_values for trial in trials):
        return Chart(title, f"No validation has logged {metric.name}.")
    data, layout = _plain(optuna.visualization.plot_intermediate_values(study))
    for trace in data:
        number = int(trace["name"].removeprefix("Trial"))
        best = number == winner
        trace |= {
            "name": f"trial {number}",
            "line": {"color": ACCENT if best else MUTED, "width": 2.5 if best else 1},
            "marker": {"size": 6 if best else 3},
            "opacity": 1 if best else 0.55,
            "showlegend": False,
        }
    # The last trace is drawn above the others.
    data.sort(key=lambda trace: trace["opacity"])
    steps = (step for trial in trials for step in trial.intermediate_values)
    layout["xaxis"] = integer_axis(steps)
    text = "Each trial over its validations, pruned ones included"
    text += "." if winner is None else f"; trial {winner}, the winner, is highlighted."
    label = f"{metric.name} by validation, one line per trial"
    return Chart(title, text, [make_figure(data, layout, label, x="validation", y=metric.name)])


def _importance(
    study: optuna.Study, metric: Metric, done: Sequence[FrozenTrial], names: Sequence[str]
) -> Chart:
    title = "Parameter importance"
    if len(names) < 2:
        return Chart(title, _too_few_parameters(names))
    if len(done) < _MIN_FOR_IMPORTANCE:
        return Chart(title, _too_few(done, _MIN_FOR_IMPORTANCE))
    costs = sorted(cost(trial.values[0], metric.mode) for trial in done)
    if costs[max(2, math.ceil(len(done) / 10)) - 1] == costs[-1]:
        return Chart(title, "Omitted: the best trials are no better than the rest.")
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
        "marker": {"color": ACCENT},
        "hoverinfo": "skip",
    }
    layout = {"height": 110 + 34 * len(names), "xaxis": {"range": [0, 1.1]}}
    text = (
        "How much each parameter differs between the best tenth of the finished trials (at least "
        f"two) and all of them (PED-ANOVA), as shares of 1; from {len(done)} trials"
    )
    text += ", so an indication only." if len(done) < _FEW_FOR_IMPORTANCE else "."
    return Chart(title, text, [make_figure([bars], layout, "share of each parameter", x="share")])


def _coordinates(
    study: optuna.Study, metric: Metric, done: Sequence[FrozenTrial], names: Sequence[str]
) -> Chart:
    title = "Parallel coordinates"
    if len(names) < 2:
        return Chart(title, _too_few_parameters(names))
    drawn = optuna.visualization.plot_parallel_coordinate(study, target_name=metric.name)
    data, layout = _plain(drawn)
    layout["height"] = 420
    _darken(data)
    label = f"{metric.name} and all parameters"
    figure = make_figure(data, layout, label, min_width=130 * (len(names) + 2))
    text = f"Each finished trial is a line; darker lines have a better {metric.name}."
    return Chart(title, text, [figure])


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
        data, layout = _plain(drawn)
        data[0] |= {
            "text": [f"trial {number}" for number in numbers],
            "marker": {"color": ACCENT, "size": 8, "opacity": 0.6},
        }
        if layout["xaxis"].get("type") == "log":
            layout["xaxis"] |= log_axis()
        layout["height"] = 290
        figures.append(make_figure(data, layout, f"{metric.name} by {name}"))
    text = "Each finished trial by one of its values; the other parameters vary."
    return Chart(title, text, figures)


def _darken(data: list[dict[str, Any]]) -> None:
    """Darken Optuna's colors, the palest of which are nearly white."""
    for trace in data:
        # One color per line; before Optuna 5 one trace with a color scale.
        line = trace.get("line", {})
        if isinstance(line.get("color"), str):
            line["color"] = _darker(line["color"])
            trace["opacity"] = 0.8
        for holder in (line, trace.get("marker", {})):
            if "colorscale" in holder:
                holder["colorscale"] = [[at, _darker(color)] for at, color in holder["colorscale"]]


def _darker(color: str) -> str:
    darker: str = label_rgb(tuple(round(0.6 * part) for part in unlabel_rgb(color)))
    return darker


def _plain(figure: "go.Figure") -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return a figure's traces and layout as dictionaries: these are a hundred times faster."""
    content = figure.to_dict()
    return content["data"], content["layout"]


def _too_few(done: Sequence[FrozenTrial], fewest: int) -> str:
    return f"Omitted: it needs {fewest} finished trials; there are {len(done)}."


def _too_few_parameters(names: Sequence[str]) -> str:
    only = f" (only {names[0]})" if names else ""
    return f"Omitted: it needs two parameters that differ among the finished trials{only}."
