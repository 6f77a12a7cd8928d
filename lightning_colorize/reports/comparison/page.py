"""Writes a comparison: the page, the page of all images, and a sheet for each image."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lightning_colorize.common.files import write_atomic
from lightning_colorize.common.provenance import git_commit, versions
from lightning_colorize.evaluation.data import trained_remark
from lightning_colorize.evaluation.evaluator import Results, measure_systems
from lightning_colorize.evaluation.failures import FAILURES, Failure
from lightning_colorize.evaluation.statistics import POWER
from lightning_colorize.evaluation.systems import System
from lightning_colorize.metrics.spec import COLUMNS, CONFIDENCE, METRICS, Metric
from lightning_colorize.reports.comparison.collector import (
    THUMBNAILS,
    ComparedImage,
    ImageCollector,
    Plan,
)
from lightning_colorize.reports.comparison.report import (
    Report,
    budgets_table,
    build_report,
    differences_table,
    interval_figures,
    seeds_table,
    settings_table,
)
from lightning_colorize.reports.kit.charts import Figure, line_trace, make_figure, style_class
from lightning_colorize.reports.kit.html import render
from lightning_colorize.reports.kit.images import Tile
from lightning_colorize.runs.record import RunRecord

INDEX, ERRORS = "index.html", "errors.html"

_MOST_DIFFERENT = 8  # images in the section of the largest differences
_EXTREMES = 4  # best, and worst, images of each system
_SIGNS = {"max": -1, "min": 1, None: 0}


def write_comparison(plan: Plan, settings: Mapping[str, Sequence[str | None]]) -> Report:
    """Color and measure the images, and write the pages after their sheets."""
    collector = ImageCollector(plan)
    batches = plan.found.batches(plan.size, plan.batch_size, plan.device, "comparing")
    results = measure_systems(
        plan.systems, batches, plan.size, collector.add, plan.truth, plan.samples, plan.seed
    )
    for image, distance in zip(collector.images, results.disagreement.tolist(), strict=True):
        image.disagreement = round(distance, 3)
    report = build_report(results, plan.systems, plan.seed)
    warnings = remarks(plan, results)
    write_errors(plan, report, collector.images)
    write_atomic(plan.out / INDEX, render_page(plan, report, collector.images, warnings, settings))
    return report


def render_page(
    plan: Plan,
    report: Report,
    images: Sequence[ComparedImage],
    warnings: Sequence[str],
    settings: Mapping[str, Sequence[str | None]],
) -> str:
    """Return the page."""
    systems = plan.systems
    names = [system.name for system in systems]
    title = " against ".join(names) if len(names) <= 3 else f"{len(names)} colorizers compared"
    split = "" if plan.found.split == "all" else f"{plan.found.split} "
    differ = [image for image in images if image.disagreement > 0]
    differ.sort(key=lambda image: -image.disagreement)
    page: dict[str, Any] = {
        "title": title if len(names) > 1 else f"{title}, in detail",
        "lead": f"{len(images)} {split}image{'' if len(images) == 1 else 's'}",
        "columns": len(systems) + 1 + plan.truth,
        "count": len(images),
        "errors": ERRORS,
        "version": versions()["lightning-colorize"],
        "commit": git_commit(),
        "confidence": f"{100 * CONFIDENCE:g}",
        "power": f"{100 * POWER:g}",
        "warnings": warnings,
        "styles": [style_class(index) for index in range(len(systems))],
        "metrics": differences_table(report),
        "intervals": interval_figures(report),
        "seeds": seeds_table(report),
        "differ": [(image, image.strip(plan)) for image in differ[:_MOST_DIFFERENT]],
        "extremes": _extremes(plan, images) if plan.truth else [],
        "curves": _curves(systems, report.columns),
        "budgets": budgets_table(systems),
        "settings": settings_table(settings, systems),
    }
    assets = ("kit.css", "kit.js", "sheets.js")
    return render("comparison.html.jinja", *assets, page=page, plan=plan)


def _extremes(
    plan: Plan, images: Sequence[ComparedImage]
) -> list[dict[str, list[tuple[ComparedImage, Tile, Tile]]]]:
    """Return the best and the worst images of each system, with its tile and the truth's."""
    extremes = []
    for index in range(len(plan.systems)):
        known = [image for image in images if np.isfinite(image.ciede2000[index])]
        known.sort(key=lambda image: image.ciede2000[index])
        shown = min(_EXTREMES, len(known) // 2)
        halves = {"best": known[:shown], "worst": known[: -shown - 1 : -1]}
        tiles = {
            half: [
                (image, tiles[index + 1], tiles[-1])
                for image, tiles in ((image, image.strip(plan).tiles) for image in chosen)
            ]
            for half, chosen in halves.items()
        }
        if shown:
            extremes.append(tiles)
    return extremes


def _curves(systems: Sequence[System], metrics: Sequence[Metric]) -> dict[str, list[Figure]]:
    """Return the charts of validations, over epochs and over images seen."""
    records = [(index, s.name, RunRecord(s.run)) for index, s in enumerate(systems) if s.run]
    axes: dict[str, list[Figure]] = {}
    for axis in ("epoch", "images seen"):
        for metric in (f"val/{row.name}" for row in metrics):
            lines = []
            for index, name, record in records:
                if known := record.curve(metric, over_images=axis != "epoch"):
                    lines.append(line_trace(name, index, known))
            if lines:
                # The page's legend explains the colors.
                xaxis = {"rangemode": "tozero", "title": {"text": axis}}
                figure = make_figure(
                    lines, metric, xaxis=xaxis, yaxis={}, height=270, showlegend=False
                )
                axes.setdefault(axis, []).append(figure)
    return axes


def write_errors(plan: Plan, report: Report, images: Sequence[ComparedImage]) -> None:
    """Write the page next to the thumbnails, which it loads lazily.

    The images are in the order of the numbers in the report.
    """
    categories = sorted({image.category for image in images})
    values = _values(report)
    count = len(plan.systems)
    styles = [style_class(index) for index in range(count)]
    data = {
        "systems": report.results.systems,
        "styles": styles,
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
        "columns": count + 1,
        "styles": styles,
        "categories": categories,
        "measures": values,
        "failures": FAILURES,
    }
    assets = ("kit.css", "errors.css", "kit.js", "sheets.js", "errors.js")
    html = render("errors.html.jinja", *assets, page=page, plan=plan, data=data)
    write_atomic(plan.out / ERRORS, html)


def _values(report: Report) -> list[dict[str, Any]]:
    """Return the metrics of single images and the failure modes, with the values of all images."""
    results = report.results
    if results.values is None or results.failures is None:
        return []

    def described(row: Metric | Failure, values: np.ndarray, **more: Any) -> dict[str, Any]:
        digits = len(row.format.format(0).partition(".")[2])
        # More digits than shown, so that their mean is the one of the other page.
        rounded = np.round(values, digits + 3).tolist()
        finite = [[value if np.isfinite(value) else None for value in of] for of in rounded]
        return {"name": row.name, "digits": digits, "values": finite, **more}

    systems = results.values[: len(results.systems)]
    metrics = [
        described(row, systems[:, COLUMNS.index(row.name)], label=row.name, help=row.full_help,
                  sign=_SIGNS[row.goal], threshold=None)
        for row in METRICS
        if row.per_image
    ]  # fmt: skip
    failures = [
        described(row, results.failures[:, index], label=row.label, help=row.help, sign=1,
                  threshold=row.threshold)
        for index, row in enumerate(FAILURES)
    ]  # fmt: skip
    return metrics + failures


def remarks(plan: Plan, results: Results) -> list[str]:
    """Return warnings about the numbers, one line each."""
    lines = [
        f"{name} predicted colors that are not finite (NaN) for {count} of {len(results.names)} "
        "images, as a diverged run does: it is not ranked"
        for name, count in results.undefined.items()
    ]
    lines += [system.problem for system in plan.systems if system.problem is not None]
    before = len(lines)
    unread = len(plan.found.images) - len(results.names)
    for name, names in plan.missing.items():
        lines.append(
            f"{name} has no image for {len(names)} of them (first: {names[0]}): "
            "these are left out for all systems"
        )
    if unread:
        lines.append(f"{unread} of the images could not be read and are left out for all systems")
    if len(lines) > before:
        lines.append(f"{len(plan.found.images) - unread} images are compared")
    if grey := results.grey_truths:
        lines.append(f"{grey:,} of {len(results.names):,} images have no color")
    for system in plan.systems:
        count = plan.trained_on.get(system.name, 0)
        if remark := trained_remark(plan.found, system, plan.data, count):
            lines.append(f"{system.name}: {remark}")
    networks = [system for system in plan.systems if not system.model.sees_whole]
    if others := [system for system in networks if system.model.size != plan.size]:
        sizes = ", ".join(f"{system.name} at {system.model.size}" for system in others)
        lines.append(f"all are compared at {plan.size} pixels; trained at other sizes: {sizes}")
    return lines
