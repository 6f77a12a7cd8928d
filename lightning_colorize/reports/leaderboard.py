"""The leaderboard: results of one protocol as a page and as a Markdown table."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from lightning_colorize.common.errors import UsageError
from lightning_colorize.common.files import write_atomic
from lightning_colorize.evaluation.protocol_result import KEPT, SYSTEM, TRUTH, ProtocolResult, Value
from lightning_colorize.metrics.spec import GREY, METRICS, Metric, cost
from lightning_colorize.reports.kit.html import render
from lightning_colorize.reports.kit.table import Cell, Column, Row, Table

PAGE, MARKDOWN = "index.html", "leaderboard.md"

_COLUMNS = [metric for metric in METRICS if metric.name != "mae_ab"]
_ABOUT = ("SHA-256", "trained on", "version")


def require_one_protocol(results: Mapping[Path, ProtocolResult]) -> None:
    """Refuse results that cannot be in one table.

    Args:
        results: By file.

    Raises:
        UsageError: If settings or images differ, or the calibration of one has failed.
    """
    for file, result in results.items():
        if problem := result.calibration.problem:
            raise UsageError(f"{file} is not calibrated: {problem}")
    (first_file, first), *others = results.items()
    for file, result in others:
        one, other = first.protocol, result.protocol
        if one.sha256 == other.sha256:
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
    foot = [(name, first[name], ["", "", ""]) for name in (GREY, TRUTH)]
    settings = ", ".join(f"{k} {v}" for k, v in protocol.settings.items() if v is not None)
    page = {
        "title": f"Leaderboard: {protocol.name}",
        "lead": f"{protocol}: {settings}. Intervals are 95 % over the images",
        "columns": 1,
        "table": Table(
            "Results",
            [
                Column("system", text=True),
                *(Column(metric.name, metric.full_help, metric.goal) for metric in _COLUMNS),
                *map(Column, _ABOUT),
            ],
            [_row(*row) for row in rows],
            [_row(*row) for row in foot],
            sortable=True,
        ),
    }
    write_atomic(folder / PAGE, render("leaderboard.html.jinja", "kit.css", "kit.js", page=page))
    lines = [
        f"# {page['title']}",
        "",
        f"{page['lead']}.",
        "",
        f"| {' | '.join(['system', *(metric.name for metric in _COLUMNS), *_ABOUT])} |",
        f"| --- |{' ---: |' * len(_COLUMNS)}{' --- |' * len(_ABOUT)}",
    ]
    for name, values, about in [*rows, *foot]:
        cells = [_text(metric, values.get(metric.name)) for metric in _COLUMNS]
        safe = [cell.replace("|", "\\|").replace("<", "&lt;") for cell in (name, *cells, *about)]
        lines.append(f"| {' | '.join(' '.join(cell.split()) for cell in safe)} |")
    write_atomic(folder / MARKDOWN, "\n".join(lines) + "\n")


def _rows(result: ProtocolResult) -> list[tuple[str, dict[str, Value], list[str]]]:
    about = [
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
    for metric in _COLUMNS:
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
