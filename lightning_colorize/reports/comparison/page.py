"""The page: numbers in words, charts, and one HTML file without an address outside."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from importlib.resources import files
from typing import Any, NamedTuple

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from lightning_colorize.common.provenance import git_commit, versions
from lightning_colorize.evaluation.measured import Measured
from lightning_colorize.evaluation.statistics import CONFIDENCE
from lightning_colorize.evaluation.systems import Given, System
from lightning_colorize.metrics.spec import NAMES
from lightning_colorize.reports.comparison.cells import (
    interval_charts,
    metric_head,
    metric_rows,
    seed_rows,
)
from lightning_colorize.reports.comparison.charts import Line, line_chart, style_class
from lightning_colorize.reports.comparison.entries import Entry
from lightning_colorize.reports.comparison.history import (
    CURVES,
    Curves,
    read_budget,
    read_curves,
)
from lightning_colorize.reports.comparison.report import Report

_UNKNOWN = "-"
_DIFFER = 8  # images shown where systems differ most
_EXTREMES = 4  # best, and worst, images of each system


class Frame(NamedTuple):
    """What is said about a comparison as a whole.

    Attributes:
        data: The folder of the true images.
        split: Which of them; empty for all.
        size: Pixels.
        thumb: Pixels of a thumbnail.
        study: Whether there is a study page beside it.
        warnings: What a reader has to know first.
        settings: Configuration's dotted names that differ, with each run's value.
    """

    data: str
    split: str
    size: int
    thumb: int
    study: bool
    warnings: list[str]
    settings: Mapping[str, Sequence[str | None]]


def render(template: str, styles: Sequence[str], scripts: Sequence[str], **context: Any) -> str:
    """Return a page of a template, with style sheets and scripts inside it.

    Args:
        template: Its file name in templates/.
        styles: Those of the style sheets.
        scripts: Those of the scripts.
        context: What the template is told.
    """
    environment = Environment(
        loader=PackageLoader(__package__),
        autoescape=True,
        trim_blocks=True,
        undefined=StrictUndefined,
    )
    folder = files(__package__) / "templates"
    css, js = (
        Markup("\n".join((folder / name).read_text(encoding="utf-8") for name in names))
        for names in (styles, scripts)
    )
    return environment.get_template(template).render(css=css, js=js, **context)


def render_page(
    report: Report, systems: Sequence[System], entries: Sequence[Entry], frame: Frame
) -> str:
    """Return the page.

    Args:
        report: The numbers.
        systems: Those compared.
        entries: The images.
        frame: What is said about the whole.
    """
    names = [_named(i, system) for i, system in enumerate(systems)]
    lines = [name for name, system in zip(names, systems, strict=True) if system.run]
    page = {
        "title": _title(report.measured),
        "data": frame.data,
        "split": f"{frame.split} " if frame.split else "",
        "count": len(entries),
        "size": frame.size,
        "thumb": frame.thumb,
        "columns": len(systems) + 1 + (report.metrics is not None),
        "version": versions()["lightning-colorize"],
        "commit": git_commit(),
        "confidence": f"{100 * CONFIDENCE:g}",
        "study": frame.study,
        "warnings": frame.warnings,
        "systems": names,
        "lines": lines,
        "metrics": [metric_head(name) for name in NAMES],
        "rows": metric_rows(report, names),
        "intervals": interval_charts(report, names),
        "groups": seed_rows(report),
        "differ": _differ(entries) if len(systems) > 1 else [],
        "extremes": [] if report.metrics is None else _extremes(entries, names),
        "curves": _curves(systems),
        "budgets": _budgets(systems, names) if lines else [],
        "settings": _settings(frame.settings) if len(lines) > 1 else None,
        "images": sorted(entries, key=lambda entry: entry.name),
        "categories": sorted({entry.category for entry in entries}),
        "notes": _notes(report, frame),
    }
    page["sections"] = _sections(page)
    return render("page.html.jinja", ["page.css"], ["page.js"], page=page)


def _title(measured: Measured) -> str:
    if len(measured.systems) == 1:
        return f"{measured.systems[0]}, looked at closely"
    if len(measured.systems) <= 3:
        return " against ".join(measured.systems)
    return f"{len(measured.systems)} colourisers compared"


def _named(number: int, system: System) -> dict[str, Any]:
    return {
        "name": system.name,
        "place": f"{system.place}, {system.kind}",
        "style": style_class(number),
    }


def _differ(entries: Sequence[Entry]) -> list[Entry]:
    apart = [entry for entry in entries if entry.disagreement > 0]
    return sorted(apart, key=lambda entry: -entry.disagreement)[:_DIFFER]


def _extremes(entries: Sequence[Entry], names: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    extremes = []
    for number, system in enumerate(names):
        known = (entry for entry in entries if np.isfinite(entry.ciede2000[number]))
        ranked = sorted(known, key=lambda entry: entry.ciede2000[number])
        count = min(_EXTREMES, len(ranked) // 2)
        if count:
            best, worst = ranked[:count], ranked[: -count - 1 : -1]
            extremes.append({"system": system, "number": number, "best": best, "worst": worst})
    return extremes


def _curves(systems: Sequence[System]) -> list[tuple[str, list[tuple[str, Markup]]]]:
    """Return, for each axis that there is, its charts."""
    curves = [(i, s.name, read_curves(s.run)) for i, s in enumerate(systems) if s.run]
    axes = []
    for axis, x_name in (("epochs", "epoch"), ("images", "images seen")):
        charts = []
        for metric in CURVES:
            lines = [Line(name, i, _points(curve, axis, metric)) for i, name, curve in curves]
            ends = [f"{n.name} ends at {n.points[-1][1]:.4g}" for n in lines if n.points]
            if ends:
                title = f"{metric} over {x_name}: {'; '.join(ends)}"
                charts.append((metric, line_chart(lines, title, x_name)))
        if charts:
            axes.append((f"by {x_name}", charts))
    return axes


def _points(curve: Curves, axis: str, metric: str) -> list[tuple[float, float]]:
    xs, ys = getattr(curve, axis), curve.metrics.get(metric)
    if not xs or not ys:
        return []
    # A run that diverged has rows without a number.
    return [(x, y) for x, y in zip(xs, ys, strict=True) if y is not None and np.isfinite(y)]


def _budgets(systems: Sequence[System], names: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    rows = []
    for system, name in zip(systems, names, strict=True):
        if system.run is None:
            elsewhere = isinstance(system, Given)
            why = "coloured elsewhere" if elsewhere else "a checkpoint without its run"
            rows.append({"system": name, "cells": [*[_UNKNOWN] * 4, why]})
            continue
        cost = read_budget(system.run)
        time = None if cost.seconds is None else str(timedelta(seconds=round(cost.seconds)))
        counts = [
            _UNKNOWN if count is None else f"{count:,}"
            for count in (cost.images, cost.parameters, cost.epochs)
        ]
        status = (cost.status or "no result").replace("_", " ")
        rows.append({"system": name, "cells": [counts[0], time or _UNKNOWN, *counts[1:], status]})
    return rows


def _settings(settings: Mapping[str, Sequence[str | None]]) -> list[tuple[str, list[str]]]:
    return [
        (key, [_UNKNOWN if value is None else value for value in values])
        for key, values in settings.items()
    ]


def _notes(report: Report, frame: Frame) -> list[str]:
    square = (
        f"Each image's short side is resized to {frame.size} pixels and the middle square is cut "
        "out, as validation does."
    )
    shown = "Images are shown as colorize writes them: colours outside sRGB lose chroma."
    if report.metrics is None:
        return [
            square,
            "There is no truth to compare with, so there are no metrics.",
            shown,
        ]
    return [
        square,
        "A network's colours are put on the true lightness and measured as evaluate does.",
        "Images coloured elsewhere are measured as they are, with their own lightness, because "
        "that is what people see; a network's lightness is the truth's, which is in its favour "
        "in psnr, ssim and ciede2000.",
        "Intervals are of the paired percentile bootstrap over images, with a fixed seed: each "
        "draw of images is the same for all systems. They say how much depends on the choice of "
        "images, nothing about another seed of the training.",
        "grey has no colour at all; mean and lut are what the first network's training images "
        "give without a network.",
        shown,
    ]


def _sections(page: Mapping[str, Any]) -> list[tuple[str, str]]:
    every = [
        ("metrics", "Metrics", page["rows"]),
        ("seeds", "Seeds", page["groups"]),
        ("differ", "Differences", page["differ"]),
        ("extremes", "Best and worst", page["extremes"]),
        ("curves", "Training", page["curves"]),
        ("budgets", "Budgets", page["budgets"]),
        ("settings", "Configuration", page["settings"] is not None),
        ("images", "All images", True),
        ("method", "Method", True),
    ]
    return [(key, name) for key, name, there in every if there]
