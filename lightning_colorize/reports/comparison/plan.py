"""The plan of a comparison: systems, images and options."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from lightning_colorize.evaluation.data import EvaluationImages
from lightning_colorize.evaluation.evaluator import Results
from lightning_colorize.evaluation.systems import System
from lightning_colorize.models.base import Model


@dataclass(frozen=True)
class Plan:
    """The systems, images and options of a comparison."""

    systems: Sequence[System]  # In the order of the page; differences are relative to the first.
    found: EvaluationImages  # The images that all systems have.
    # Images that were left out because a system does not have them, by system.
    missing: Mapping[str, Sequence[str]]
    trained_on: Mapping[str, int]  # Number of the images that a network was trained on, by network.
    data: Path  # Folder of the true images, as given.
    out: Path  # Folder of the page.
    # Height and width of the measured squares, and short side of the images shown, in pixels.
    size: int
    batch_size: int
    seed: int  # Seed of the bootstrap, the study and the samples.
    device: torch.device
    truth: bool  # Whether the images' own colors are the truth.
    study: bool  # Whether the page links to a study page.
    samples: int = 1  # Colorings per image of the models that sample.


def default_size(systems: Sequence[System]) -> int:
    """Return the size of the first model that has one, or 256 without such a model."""
    sizes = (system.model.size for system in systems if not system.model.sees_whole)
    return next(sizes, Model.size)


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
    if plan.trained_on:
        counts = ", ".join(f"{name} on {count:,}" for name, count in plan.trained_on.items())
        lines.append(f"trained on some of these {len(plan.found.images):,} images: {counts}")
    networks = [system for system in plan.systems if not system.model.sees_whole]
    if others := [system for system in networks if system.model.size != plan.size]:
        sizes = ", ".join(f"{system.name} at {system.model.size}" for system in others)
        lines.append(f"all are compared at {plan.size} pixels; trained at other sizes: {sizes}")
    return lines
