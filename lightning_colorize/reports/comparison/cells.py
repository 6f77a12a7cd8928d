"""Metrics as the page shows them: rounded, with verdicts in words and as charts."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from lightning_colorize.evaluation.statistics import Difference
from lightning_colorize.metrics.spec import NAMES, format_metric, metric_goal, metric_help
from lightning_colorize.reports.comparison.charts import MINUS, Interval, interval_chart
from lightning_colorize.reports.comparison.report import Report

_ARROWS = {"max": "↑", "min": "↓", None: ""}


def metric_head(name: str) -> dict[str, str]:
    """Return a column's heading: `name`, `help`, `arrow`, `goal`."""
    goal = metric_goal(name)
    return {"name": name, "help": metric_help(name), "arrow": _ARROWS[goal], "goal": goal or ""}


def metric_rows(report: Report, names: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows of the table of metrics; none without truth.

    Args:
        report: The numbers.
        names: Name and style of each system.
    """
    if report.metrics is None:
        return []
    shown = [
        [_rounded(name, value) for name, value in zip(NAMES, row, strict=True)]
        for row in report.metrics
    ]
    best = [_best(report.metrics[: len(names), i], NAMES[i]) for i in range(len(NAMES))]
    return [
        {
            "name": name,
            "baseline": number >= len(names),
            "style": "" if number >= len(names) else names[number]["style"],
            "cells": [
                {
                    "value": _exact(report.metrics[number, i]),
                    "shown": shown[number][i],
                    "best": shown[number][i] == best[i],
                    **({"difference": ""} if not number else _difference(report, number, i)),
                }
                for i in range(len(NAMES))
            ],
        }
        for number, name in enumerate(report.measured.rows)
    ]


def _best(values: np.ndarray, metric: str) -> str | None:
    goal = metric_goal(metric)
    values = values[np.isfinite(values)]
    if goal is None or len(values) < 2:
        return None
    return _rounded(metric, values.max() if goal == "max" else values.min())


def _difference(report: Report, row: int, column: int) -> dict[str, str]:
    difference, metric = report.differences[row][column], NAMES[column]
    interval = ""
    if difference.low is not None and difference.high is not None:
        ends = (_rounded(metric, end, signed=True) for end in (difference.low, difference.high))
        interval = f"[{', '.join(ends)}]"
    return {
        "difference": _rounded(metric, difference.value, signed=True),
        "interval": interval,
        "verdict": _verdict(difference, metric),
    }


def _rounded(metric: str, value: float, *, signed: bool = False) -> str:
    """Return a value as it is shown; what is rounded to 0 has no sign, what is no number a dash."""
    if not np.isfinite(value):
        return "-"
    text = format_metric(metric, value)
    if float(text) == 0:
        return text.lstrip("-")
    return ("+" if signed and value > 0 else "") + text.replace("-", MINUS)


def _exact(value: float) -> str:
    """Return what a column is sorted by; empty for what is no number."""
    return f"{value:.6g}" if np.isfinite(value) else ""


def _verdict(difference: Difference, metric: str) -> str:
    if not difference.clear:
        return "unclear"
    goal = metric_goal(metric)
    if goal is None:
        return "other"
    return "better" if (difference.value > 0) == (goal == "max") else "worse"


def interval_charts(
    report: Report, names: Sequence[Mapping[str, Any]]
) -> list[tuple[dict[str, str], Markup]]:
    """Return, for each metric, its heading and the chart of differences from the first system.

    Args:
        report: The numbers.
        names: Name and style of each system; none for a single one.
    """
    if report.metrics is None or len(names) < 2:
        return []
    charts = []
    for column, metric in enumerate(NAMES):
        if metric == "colorfulness":  # the ratio's chart is the same but for its scale
            continue
        rows = []
        for number in range(1, len(names)):
            of = report.differences[number][column]
            if not np.isfinite(of.value):
                continue
            words = _difference(report, number, column)
            rows.append(
                Interval(
                    names[number]["name"],
                    number,
                    of.value,
                    of.low,
                    of.high,
                    f"{words['difference']} {words['interval']}",
                    words["verdict"],
                )
            )
        if not rows:
            continue
        said = "; ".join(f"{row.name} {row.shown}" for row in rows)
        title = f"{metric}, difference from {names[0]['name']}: {said}"
        charts.append((metric_head(metric), interval_chart(rows, title)))
    return charts


def seed_rows(report: Report) -> list[dict[str, Any]]:
    """Return the rows of the table over seeds."""
    return [
        {
            "names": [report.measured.systems[i] for i in group.members],
            "seeds": group.seeds,
            "cells": [
                {"mean": _rounded(m, mean), "spread": _rounded(m, spread)}
                for m, (mean, spread) in zip(NAMES, spreads, strict=True)
            ],
        }
        for group, spreads in zip(report.groups, report.spreads, strict=True)
    ]
