"""The leaderboard: results of one protocol as a page and as a Markdown table."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from lightning_colorize.common.errors import UsageError
from lightning_colorize.common.files import write_atomic
from lightning_colorize.evaluation.pretrained import PretrainedResult, PretrainedValue
from lightning_colorize.evaluation.protocol import MeasuredImages, read_protocol
from lightning_colorize.evaluation.protocol_result import (
    COLUMNS,
    KEPT,
    SYSTEM,
    TRUTH,
    ProtocolResult,
    Value,
)
from lightning_colorize.metrics.spec import GREY, Metric, cost
from lightning_colorize.models.settings import describe_values
from lightning_colorize.reports.kit.html import render
from lightning_colorize.reports.kit.table import Cell, Column, Table, make_row

PAGE, MARKDOWN = "index.html", "leaderboard.md"

_PUBLISHED = "Published, not measured here"
_ABOUT = ("settings", "SHA-256", "trained on", "version")


def require_one_protocol(results: Mapping[Path, ProtocolResult]) -> None:
    """Refuse results whose settings or images differ, or of which a calibration has failed."""
    for file, result in results.items():
        if problem := result.problem:
            raise UsageError(f"{file} is not calibrated: {problem}")
    (first_file, first), *others = results.items()
    for file, result in others:
        one, other = first.protocol, result.protocol
        if one.model_copy(update={"name": other.name}) == other:
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


def published(measured: MeasuredImages) -> Table | None:
    """Return the published results of a protocol and their source; None if it has none."""
    content = yaml.safe_load(Path(__file__).with_name("published.yaml").read_text(encoding="utf-8"))
    for name, systems in content["protocols"].items():
        if read_protocol(name).settings() == measured.settings:
            rows = [
                make_row(system, *(Cell(f"{value:.2f}", value=value) for value in values))
                for system, values in systems.items()
            ]
            columns = [Column("system", text=True), *map(Column, content["columns"])]
            return Table(content["source"], columns, rows, sortable=True)
    return None


def sorted_results(results: Sequence[ProtocolResult], by: Metric) -> list[ProtocolResult]:
    """Return the results, best first; results without the metric come last."""
    goal = by.goal or "max"

    def place(result: ProtocolResult) -> float:
        value = result.rows[SYSTEM].get(by.name)
        return float("inf") if value is None else cost(value.value, goal)

    return sorted(results, key=place)


def write_leaderboard(folder: Path, results: Sequence[ProtocolResult]) -> None:
    """Write the page and the Markdown table of results of one protocol, in their order."""
    protocol = results[0].protocol
    further = {each.network: each for result in results for each in result.pretrained if each.rows}
    rows = []
    for result in results:
        measured = {each.network: each for each in result.pretrained}
        columns = [measured.get(network) for network in further]
        for row, name in ((SYSTEM, result.system), (KEPT, f"{result.system}, with the true L")):
            if row in result.rows:
                rows.append(make_row(name, *_cells(result, row, columns), *_about(result)))
    foot = [
        make_row(name, *_cells(results[0], name, [*further.values()]), *[""] * len(_ABOUT))
        for name in (GREY, TRUTH)
    ]
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
                *(Column(each.label, each.title, each.goal) for each in further.values()),
                *map(Column, _ABOUT),
            ],
            rows,
            foot,
            sortable=True,
        ),
        "published": (listed := published(protocol)),
    }
    write_atomic(folder / PAGE, render("leaderboard.html.jinja", "kit.css", "kit.js", page=page))
    labels = [*(metric.name for metric in COLUMNS), *(each.label for each in further.values())]
    texts = [[_with_notes(cell) for cell in row.cells] for row in (*rows, *foot)]
    lines = [
        f"# {_markdown(str(page['title']))}",
        "",
        f"{_markdown(str(page['lead']))}.",
        "",
        *_markdown_table(["system", *labels, *_ABOUT], texts, len(labels)),
    ]
    if listed is not None:
        heads = [column.name for column in listed.columns]
        texts = [[cell.text for cell in row.cells] for row in listed.rows]
        lines += ["", f"{_PUBLISHED}: {_markdown(listed.label)}.", ""]
        lines += _markdown_table(heads, texts, len(heads) - 1)
    lines += ["", *(_markdown(f"{each.label}: {each.title}") + "." for each in further.values())]
    write_atomic(folder / MARKDOWN, "\n".join(lines) + "\n")


def _with_notes(cell: Cell) -> str:
    return " ".join([cell.text, *(f"({note})" for note in cell.notes)])


def _markdown_table(heads: list[str], rows: list[list[str]], numbers: int) -> list[str]:
    """Return lines of a table: a column of names, columns of numbers, and columns of text."""
    rule = f"| --- |{' ---: |' * numbers}{' --- |' * (len(heads) - 1 - numbers)}"
    head, *others = (f"| {' | '.join(map(_markdown, row))} |" for row in (heads, *rows))
    return [head, rule, *others]


def _markdown(text: str) -> str:
    """Return third-party text in one line, without links, images and HTML."""
    escaped = re.sub(r"([\\`*_\[\]|!#~])", r"\\\1", " ".join(text.split()))
    return escaped.replace("&", "&amp;").replace("<", "&lt;")


def _about(result: ProtocolResult) -> list[str]:
    return [
        describe_values(result.settings),
        (result.sha256 or "")[:8],
        "" if result.trained_on is None else f"{result.trained_on:,} of these",
        result.versions.get("lightning-colorize", ""),
    ]


def _cells(
    result: ProtocolResult, row: str, further: Sequence[PretrainedResult | None]
) -> list[Cell]:
    """Return the cells of a row: `COLUMNS`, then the metrics of pretrained networks."""
    cells = [_cell(metric.format, result.rows[row].get(metric.name)) for metric in COLUMNS]
    for network in further:
        value = None if network is None else network.rows.get(row)
        cells.append(_cell("{:.4g}", value))
        if network is not None and value is not None and value.infinite is not None:
            note = f"N {network.images:,}; infinite: {value.infinite:.4g}"
            cells[-1] = cells[-1]._replace(notes=[note])
    return cells


def _cell(form: str, value: Value | PretrainedValue | None) -> Cell:
    if value is None:
        return Cell("-")
    shown = form.format(value.value)
    if value.low is None or value.high is None:
        return Cell(shown, value=value.value)
    interval = f"{form.format(value.low)} to {form.format(value.high)}"
    return Cell(shown, [interval], value=value.value)
