"""The page of all images: sorted by error, filtered by category and failure mode."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from lightning_colorize.common.files import write_atomic
from lightning_colorize.evaluation.failures import FAILURES, Failure
from lightning_colorize.metrics.spec import COLUMNS, METRICS, Metric
from lightning_colorize.reports.comparison.collector import THUMBNAILS, ComparedImage
from lightning_colorize.reports.comparison.plan import Plan
from lightning_colorize.reports.comparison.report import Report
from lightning_colorize.reports.kit.charts import style_class
from lightning_colorize.reports.kit.html import render
from lightning_colorize.reports.kit.thumbnails import SIDE

ERRORS = "errors.html"

_SIGNS = {"max": -1, "min": 1, None: 0}


def write_errors(plan: Plan, report: Report, images: Sequence[ComparedImage]) -> None:
    """Write the page next to the sprites, which it loads lazily.

    The images are in the order of the numbers in the report.
    """
    measured = report.measured
    categories = sorted({image.category for image in images})
    measures = _measures(report)
    count = len(plan.systems)
    data = {
        "systems": measured.systems,
        "styles": [style_class(index) for index in range(count)],
        "last": "truth" if plan.truth else "grey",
        "names": [image.name for image in images],
        "sheets": [image.sheet for image in images],
        "categories": categories,
        "category": [categories.index(image.category) for image in images],
        "sprites": THUMBNAILS,
        "side": SIDE,
        "cells": [image.cell for image in images],
        "measures": measures,
        "apart": [image.disagreement for image in images] if count > 1 else None,
    }
    page = {
        "title": "Error analysis",
        "lead": f"{len(images):,} image{'' if len(images) == 1 else 's'}",
        "data": str(plan.data),
        "size": plan.size,
        "columns": count + 1,
        "systems": plan.systems,
        "styles": data["styles"],
        "categories": categories,
        "measures": measures,
        "failures": FAILURES,
    }
    assets = ("kit.css", "errors.css", "kit.js", "sheets.js", "errors.js")
    write_atomic(plan.out / ERRORS, render("errors.html.jinja", *assets, page=page, data=data))


def _measures(report: Report) -> list[dict[str, Any]]:
    """Return the metrics of single images and the failure modes, with the values of all images."""
    measured = report.measured
    if measured.values is None or measured.failures is None:
        return []
    count = len(measured.systems)
    metrics = [
        _measure(each, each.name, each.full_help, measured.values[:count, COLUMNS.index(each.name)])
        | {"sign": _SIGNS[each.goal], "threshold": None}
        for each in METRICS
        if each.per_image
    ]
    failures = [
        _measure(each, each.label, each.help, measured.failures[:, index])
        | {"sign": 1, "threshold": each.threshold}
        for index, each in enumerate(FAILURES)
    ]
    return metrics + failures


def _measure(
    measure: Metric | Failure, label: str, help_: str, values: np.ndarray
) -> dict[str, Any]:
    """Describe a measure; (systems, images) are None if not finite.

    Values have more digits than shown, so that their mean is the one of the other page.
    """
    digits = len(measure.format.format(0).partition(".")[2])
    rows = np.round(values, digits + 3).tolist()
    finite = [[value if np.isfinite(value) else None for value in row] for row in rows]
    described = {"name": measure.name, "label": label, "help": help_}
    return described | {"digits": digits, "values": finite}
