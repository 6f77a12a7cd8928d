"""The leaderboard: results of one protocol as a page and as a Markdown table."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from lightning_colorize.common.errors import UsageError
from lightning_colorize.common.files import write_atomic
from lightning_colorize.common.text import UNKNOWN
from lightning_colorize.evaluation.pretrained import PretrainedResult, Value
from lightning_colorize.evaluation.protocol import (
    COLUMNS,
    KEPT,
    SYSTEM,
    TRUTH,
    MeasuredImages,
    ProtocolResult,
    read_protocol,
)
from lightning_colorize.evaluation.table import Cell, Column, Table, make_row, markdown_text
from lightning_colorize.metrics.spec import GREY, Metric, cost
from lightning_colorize.models.settings import describe_values
from lightning_colorize.reports.kit.html import Section, render_sections

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
    networks = {each.network: each for result in results for each in result.pretrained if each.rows}
    rows = []
    for result in results:
        measured = {each.network: each for each in result.pretrained}
        found = [measured.get(network) for network in networks]
        for row, name in ((SYSTEM, result.system), (KEPT, f"{result.system}, with the true L")):
            if row in result.rows:
                rows.append(make_row(name, *_cells(result, row, found), *_about(result)))
    blank = [""] * len(_ABOUT)
    every = [*networks.values()]
    foot = [make_row(name, *_cells(results[0], name, every), *blank) for name in (GREY, TRUTH)]
    columns = [
        Column("system", text=True),
        *map(Column.of, COLUMNS),
        *(Column(each.label, each.title, each.goal) for each in networks.values()),
        *(Column(name, text=True) for name in _ABOUT),
    ]
    settings = ", ".join(f"{k} {v}" for k, v in protocol.settings.items() if v is not None)
    title = f"Leaderboard: {protocol.name}"
    lead = f"{protocol}: {settings}. Intervals are 95 % over the images"
    table = Table("Results", columns, rows, foot, sortable=True)
    listed = published(protocol)
    sections = [Section("results", "Results", table=table)]
    if listed is not None:
        sections.append(Section("published", _PUBLISHED, listed.label, table=listed))
    write_atomic(folder / PAGE, render_sections(title, lead, sections))
    lines = [f"# {markdown_text(title)}", "", f"{markdown_text(lead)}.", "", *table.markdown()]
    if listed is not None:
        lines += ["", f"{_PUBLISHED}: {markdown_text(listed.label)}.", "", *listed.markdown()]
    lines += ["", *(markdown_text(f"{each.label}: {each.title}.") for each in networks.values())]
    write_atomic(folder / MARKDOWN, "\n".join(lines) + "\n")


def _about(result: ProtocolResult) -> list[str]:
    return [
        describe_values(result.settings),
        (result.sha256 or "")[:8],
        "" if result.trained_on is None else f"{result.trained_on:,} of these",
        result.versions.get("lightning-colorize", ""),
    ]


def _cells(
    result: ProtocolResult, row: str, pretrained: Sequence[PretrainedResult | None]
) -> list[Cell]:
    """Return the cells of a row: `COLUMNS`, then the metrics of pretrained networks."""
    return [
        *(_cell(metric.format, result.rows[row].get(metric.name)) for metric in COLUMNS),
        *(
            Cell(UNKNOWN) if each is None else _cell("{:.4g}", each.rows.get(row), each.images)
            for each in pretrained
        ),
    ]


def _cell(form: str, value: Value | None, images: int | None = None) -> Cell:
    if value is None:
        return Cell(UNKNOWN)
    note = f"N {images:,}" if images else ""
    if value.low is not None and value.high is not None:
        note = f"{form.format(value.low)} to {form.format(value.high)}"
    return Cell(form.format(value.value), [note], value=value.value)
