"""From systems and images to a folder with a page, sheets and, on wish, a study."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from lightning_colorize.common.errors import UsageError
from lightning_colorize.common.files import write_atomic
from lightning_colorize.common.progress import progress
from lightning_colorize.evaluation.choice import Missing
from lightning_colorize.evaluation.data import EvaluationImages
from lightning_colorize.evaluation.measured import Measured, measure_systems
from lightning_colorize.evaluation.systems import Network, System
from lightning_colorize.reports.comparison.entries import SHEETS, Entries
from lightning_colorize.reports.comparison.page import Frame, render_page
from lightning_colorize.reports.comparison.report import Report, build_report
from lightning_colorize.reports.comparison.sheets import thumbnail_side
from lightning_colorize.runs.folder import read_config

INDEX = "index.html"

_DEFAULT_SIZE = 256  # where no network says what it was trained on


@dataclass(frozen=True)
class Plan:
    """What is to be compared.

    Attributes:
        systems: In the order of the page; differences are taken from the first.
        found: The images that all of them have.
        missing: What was left out because a system does not have it.
        trained_on: How many of them each network was trained on, where any.
        data: The folder of the true images, as it was given.
        out: The folder of the page.
        size: Pixels.
        batch_size: Images at a time.
        seed: Of the bootstrap, and of the study.
        device: Where networks work.
        truth: Whether the images' own colours are the truth.
        study: Whether a study page is to stand beside it.
    """

    systems: Sequence[System]
    found: EvaluationImages
    missing: Sequence[Missing]
    trained_on: Mapping[str, int]
    data: Path
    out: Path
    size: int
    batch_size: int
    seed: int
    device: torch.device
    truth: bool
    study: bool


def default_size(systems: Sequence[System]) -> int:
    """Return the size that the first network was trained at; 256 where there is none."""
    sizes = [system.loaded.size for system in systems if isinstance(system, Network)]
    return sizes[0] if sizes else _DEFAULT_SIZE


def write_comparison(plan: Plan, settings: Mapping[str, Sequence[str | None]]) -> Report:
    """Colour, measure, and write the page; it appears last, when all else is there.

    Args:
        plan: What is to be compared.
        settings: Configuration's dotted names that differ, with each run's value.

    Raises:
        UsageError: If none of the images can be read.
    """
    count = len(plan.found.images)
    tiles = count * (len(plan.systems) + 1 + plan.truth)
    side = thumbnail_side(plan.size, tiles)
    if (plan.out / INDEX).exists():
        for old in (plan.out / SHEETS).glob(f"{'[0-9]' * 5}.jpg"):
            old.unlink()
    collected = Entries(plan.out, [s.name for s in plan.systems], side, plan.found.group)
    batches = plan.found.batches(plan.size, plan.batch_size, plan.device)
    measured = measure_systems(
        plan.systems,
        progress(batches, -(-count // plan.batch_size), "comparing"),
        collected.add,
        truth=plan.truth,
    )
    if not measured.names:
        raise UsageError(f"none of {count} images in {plan.data} can be read")
    for entry, apart in zip(collected.entries, measured.disagreement.tolist(), strict=True):
        entry.disagreement = round(apart, 3)
    report = build_report(measured, plan.systems, plan.seed)
    frame = Frame(
        str(plan.data),
        "" if plan.found.split == "all" else plan.found.split,
        plan.size,
        side,
        plan.study,
        remarks(plan, measured),
        settings,
    )
    write_atomic(plan.out / INDEX, render_page(report, plan.systems, collected.entries, frame))
    return report


def remarks(plan: Plan, measured: Measured) -> list[str]:
    """Return what a reader has to know before the numbers, a line each.

    Args:
        plan: What was compared.
        measured: What came out.
    """
    lines = [
        f"{name} gave colours that are no numbers (NaN) for {count} of {len(measured.names)} "
        "images, as a run that diverged does: it is not ranked"
        for name, count in measured.undefined.items()
    ]
    for system in plan.systems:
        if system.run is None:
            continue
        try:
            read_config(system.run)
        except UsageError as error:
            lines.append(f"{error}: what {system.name} was trained on, and how, is not known")
    before = len(lines)
    unread = len(plan.found.images) - len(measured.names)
    for missing in plan.missing:
        lines.append(
            f"{missing.system} has no image for {len(missing.names)} of them "
            f"(first: {missing.names[0]}): these are left out for all"
        )
    if unread:
        lines.append(f"{unread} could not be read and are left out for all")
    if len(lines) > before:
        lines.append(f"{len(plan.found.images) - unread} images are compared")
    if plan.trained_on:
        known = ", ".join(f"{name} on {count:,}" for name, count in plan.trained_on.items())
        lines.append(f"trained on some of these {len(plan.found.images):,} images: {known}")
    networks = [system for system in plan.systems if isinstance(system, Network)]
    others = [s for s in networks if s.loaded.size != plan.size]
    if others:
        sizes = ", ".join(f"{system.name} at {system.loaded.size}" for system in others)
        lines.append(f"all are compared at {plan.size} pixels; trained at others: {sizes}")
    return lines
