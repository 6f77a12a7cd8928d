"""Metrics as the page shows them: rounded, with verdicts in words and as charts."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from lightning_colorize.evaluation.comparison.charts import Interval, interval_chart
from lightning_colorize.evaluation.comparison.report import Report
from lightning_colorize.evaluation.comparison.statistics import METRICS, Difference
from lightning_colorize.evaluation.table import FORMATS
from lightning_colorize.run_folder import metric_goal

_HELP = {
    "psnr": "peak signal-to-noise ratio of RGB, in dB; higher is better",
    "ssim": "structural similarity of RGB; higher is better",
    "ciede2000": "difference of colour as people see it (ΔE); lower is better",
    "mse_ab": "squared error of a and b, in LAB units squared; lower is better",
    "colorfulness": "how colourful the pictures are; more is not always better",
    "colorfulness_ratio": "the same, as a share of the true pictures'; 1 is as colourful as these",
    "hue_r": "correlation of mean colour with the truth's over pictures; higher is better",
}
_ARROWS = {"max": "↑", "min": "↓", None: ""}


def metric_head(name: str) -> dict[str, str]:
    goal = metric_goal(name)
    return {"name": name, "help": _HELP[name], "arrow": _ARROWS[goal], "goal": goal or ""}


def metric_rows(report: Report, names: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    if report.metrics is None:
        return []
    shown = [
        [FORMATS[name].format(value) for name, value in zip(METRICS, row, strict=True)]
        for row in report.metrics
    ]
    best = [_best(report.metrics[: len(names), i], METRICS[i]) for i in range(len(METRICS))]
    return [
        {
            "name": name,
            "baseline": number >= len(names),
            "style": "" if number >= len(names) else names[number]["style"],
            "cells": [
                {
                    "value": f"{report.metrics[number, i]:.6g}",
                    "shown": shown[number][i],
                    "best": shown[number][i] == best[i],
                    **({"difference": ""} if not number else _difference(report, number, i)),
                }
                for i in range(len(METRICS))
            ],
        }
        for number, name in enumerate(report.measured.rows)
    ]


def _best(values: np.ndarray, metric: str) -> str | None:
    goal = metric_goal(metric)
    if goal is None or len(values) < 2:
        return None
    return FORMATS[metric].format(values.max() if goal == "max" else values.min())


def _difference(report: Report, row: int, column: int) -> dict[str, str]:
    difference, form = report.differences[row][column], _signed(METRICS[column])
    interval = ""
    if difference.low is not None and difference.high is not None:
        interval = f"[{form.format(difference.low)}, {form.format(difference.high)}]"
    return {
        "difference": _minus(form.format(difference.value)),
        "interval": _minus(interval),
        "verdict": _verdict(difference, METRICS[column]),
    }


def _signed(metric: str) -> str:
    return FORMATS[metric].replace("{:", "{:+")


def _minus(text: str) -> str:
    return text.replace("-", "−")


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
    if report.metrics is None or len(names) < 2:
        return []
    charts = []
    for column, metric in enumerate(METRICS):
        if metric == "colorfulness":  # the ratio's chart is the same but for its scale
            continue
        rows = []
        for number in range(1, len(names)):
            of = report.differences[number][column]
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
        said = "; ".join(f"{row.name} {row.shown}" for row in rows)
        title = f"{metric}, difference from {names[0]['name']}: {said}"
        charts.append((metric_head(metric), interval_chart(rows, title)))
    return charts


def seed_rows(report: Report) -> list[dict[str, Any]]:
    return [
        {
            "names": [report.measured.systems[i] for i in group.members],
            "seeds": group.seeds,
            "cells": [
                {"mean": FORMATS[m].format(mean), "spread": FORMATS[m].format(spread)}
                for m, (mean, spread) in zip(METRICS, spreads, strict=True)
            ],
        }
        for group, spreads in zip(report.groups, report.spreads, strict=True)
    ]
