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

ERRORS = "errors.html"

_SIGNS = {"max": -1, "min": 1, None: 0}


def write_errors(plan: Plan, report: Report, images: Sequence[ComparedImage]) -> None:
    """Write the page next to the thumbnails, which it loads lazily.

    The images are in the order of the numbers in the report.
    """
    categories = sorted({image.category for image in images})
    values = _values(report)
    count = len(plan.systems)
    data = {
        "systems": report.results.systems,
        "styles": [style_class(index) for index in range(count)],
        "last": "truth" if plan.truth else "grey",
        "names": [image.name for image in images],
        "sheets": [image.sheet for image in images],
        "categories": categories,
        "category": [categories.index(image.category) for image in images],
        "thumbnails": [f"{THUMBNAILS}/{image.file}" for image in images],
        "sizes": [image.size for image in images],
        "measures": values,
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
        "measures": values,
        "failures": FAILURES,
    }
    assets = ("kit.css", "errors.css", "kit.js", "sheets.js", "errors.js")
    write_atomic(plan.out / ERRORS, render("errors.html.jinja", *assets, page=page, data=data))


def _values(report: Report) -> list[dict[str, Any]]:
    """Return the metrics of single images and the failure modes, with the values of all images."""
    results = report.results
    if results.values is None or results.failures is None:
        return []
    found: list[tuple[Metric | Failure, np.ndarray, dict[str, Any]]] = [
        (
            metric,
            results.values[: len(results.systems), COLUMNS.index(metric.name)],
            {"help": metric.full_help, "sign": _SIGNS[metric.goal], "threshold": None},
        )
        for metric in METRICS
        if metric.per_image
    ]
    found += [
        (
            failure,
            results.failures[:, index],
            {"help": failure.help, "sign": 1, "threshold": failure.threshold},
        )
        for index, failure in enumerate(FAILURES)
    ]
    described = []
    for each, values, more in found:
        digits = len(each.format.format(0).partition(".")[2])
        # More digits than shown, so that their mean is the one of the other page.
        rows = np.round(values, digits + 3).tolist()
        finite = [[value if np.isfinite(value) else None for value in row] for row in rows]
        label = each.label if isinstance(each, Failure) else each.name
        described.append(
            {"name": each.name, "label": label, "digits": digits, **more, "values": finite}
        )
    return described
