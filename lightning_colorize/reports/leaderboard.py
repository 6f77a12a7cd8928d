"""The leaderboard: results of one protocol as a page and as a Markdown table."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from lightning_colorize.common.errors import UsageError
from lightning_colorize.common.files import write_atomic
from lightning_colorize.evaluation.protocol_result import (
    ABSOLUTE,
    KEPT,
    SYSTEM,
    TRUTH,
    ProtocolResult,
    Value,
)
from lightning_colorize.metrics.spec import GREY, METRICS, Metric, cost
from lightning_colorize.reports.kit.html import render
from lightning_colorize.reports.kit.table import Cell, Column, Row, Table

PAGE, MARKDOWN = "index.html", "leaderboard.md"

_ABSOLUTE = Metric(ABSOLUTE, None, "{:.1f}", "colorfulness from absolute differences")
COLUMNS = (*(metric for metric in METRICS if metric.name != "mae_ab"), _ABSOLUTE)
"""The metrics of the leaderboard."""

_ABOUT = ("settings", "SHA-256", "trained on", "version")


def require_one_protocol(results: Mapping[Path, ProtocolResult]) -> None:
    """Refuse results that cannot be in one table.

    Args:
        results: By file.

    Raises:
        UsageError: If settings or images differ, or the calibration of one has failed.
    """
    for file, result in results.items():
        if problem := result.problem:
            raise UsageError(f"{file} is not calibrated: {problem}")
    (first_file, first), *others = results.items()
    for file, result in others:
        one, other = first.protocol, result.protocol
        if one == other:
            continue
        keys = [key for key in one.settings if one.settings[key] != other.settings.get(key)]
        if keys:
            reason = ", ".join(f"{k} {one.settings[k]} and {other.settings.get(k)}" for k in keys)
        elif one.images != other.images:
            reason = f"{one.images:,} and {other.images:,} images"
        else:
            reason = "other images"
        raise UsageError(
            f"{first_file} ({one.name}) and {file} ({other.name}) cannot be in one table: {reason}"
        )


def sorted_results(results: Sequence[ProtocolResult], by: Metric) -> list[ProtocolResult]:
    """Return results, the best first; those without the metric are the last."""
    goal = by.goal or "max"

    def place(result: ProtocolResult) -> float:
        value = result.rows[SYSTEM].get(by.name)
        return float("inf") if value is None else cost(value.value, goal)

    return sorted(results, key=place)


def write_leaderboard(folder: Path, results: Sequence[ProtocolResult]) -> None:
    """Write the page and the Markdown table.

    Args:
        folder: Where to write both; files of these names are replaced.
        results: Of one protocol, in the order of the rows.
    """
    protocol = results[0].protocol
    rows = [(name, values, about) for result in results for name, values, about in _rows(result)]
    first = results[0].rows
    foot = [(name, first[name], [""] * len(_ABOUT)) for name in (GREY, TRUTH)]
    settings = ", ".join(f"{k} {v}" for k, v in protocol.settings.items() if v is not None)
    page = {
        "title": f"Leaderboard: {protocol.name}",
        "lead": f"{protocol}: {settings}. Intervals are 95 % over the images",
        "columns": 1,
        "table": Table(
            "Results",
            [
                Column("system", text=True),
                *(Column(metric.name, metric.full_help, metric.goal) for metric in COLUMNS),
                *map(Column, _ABOUT),
            ],
            [_row(*row) for row in rows],
            [_row(*row) for row in foot],
            sortable=True,
        ),
    }
    write_atomic(folder / PAGE, render("leaderboard.html.jinja", "kit.css", "kit.js", page=page))
    lines = [
        f"# {_markdown(str(page['title']))}",
        "",
        f"{_markdown(str(page['lead']))}.",
        "",
        f"| {' | '.join(['system', *(metric.name for metric in COLUMNS), *_ABOUT])} |",
        f"| --- |{' ---: |' * len(COLUMNS)}{' --- |' * len(_ABOUT)}",
    ]
    for name, values, about in [*rows, *foot]:
        cells = [_text(metric, values.get(metric.name)) for metric in COLUMNS]
        lines.append(f"| {' | '.join(map(_markdown, (name, *cells, *about)))} |")
    write_atomic(folder / MARKDOWN, "\n".join(lines) + "\n")


def _markdown(text: str) -> str:
    """Return text of others in one line, without links, images and HTML."""
    escaped = re.sub(r"([\\`*_\[\]|!#~])", r"\\\1", " ".join(text.split()))
    return escaped.replace("&", "&amp;").replace("<", "&lt;")


def _rows(result: ProtocolResult) -> list[tuple[str, dict[str, Value], list[str]]]:
    about = [
        ", ".join(f"{name} {value:g}" for name, value in result.settings.items()),
        (result.sha256 or "")[:8],
        "" if result.trained_on is None else f"{result.trained_on:,} of these",
        result.versions.get("lightning-colorize", ""),
    ]
    rows = [(result.system, result.rows[SYSTEM], about)]
    if KEPT in result.rows:
        rows.append((f"{result.system}, with the true L", result.rows[KEPT], about))
    return rows


def _row(name: str, values: Mapping[str, Value], about: Sequence[str]) -> Row:
    cells = []
    for metric in COLUMNS:
        value = values.get(metric.name)
        if value is None:
            cells.append(Cell("-"))
            continue
        low, high = (metric.format.format(end) for end in (value.low, value.high))
        shown = metric.format.format(value.value)
        cells.append(Cell(shown, [f"{low} to {high}"], value=value.value))
    return Row([Cell(name), *cells, *map(Cell, about)])


def _text(metric: Metric, value: Value | None) -> str:
    if value is None:
        return "-"
    shown, low, high = (metric.format.format(v) for v in (value.value, value.low, value.high))
    return f"{shown} ({low} to {high})"
