"""The systems of a comparison, and the images that all systems have."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from lightning_colorize.common.arguments import split_name
from lightning_colorize.common.bundled import with_bundled
from lightning_colorize.common.errors import UsageError
from lightning_colorize.data.image_set import ChosenImages, ImageSet
from lightning_colorize.data.sources import SourceError
from lightning_colorize.data.sources.listing import list_images
from lightning_colorize.data.splits import random_subset
from lightning_colorize.evaluation.data import (
    EvaluationImages,
    SplitName,
    count_trained,
    find_images,
    whole_images,
)
from lightning_colorize.evaluation.systems import System
from lightning_colorize.metrics import BASELINES
from lightning_colorize.models.folder import FolderModel
from lightning_colorize.models.load import load_model
from lightning_colorize.runs.artifacts import is_artifact
from lightning_colorize.runs.folder import CHECKPOINTS, CONFIG, is_run, run_of

_RESERVED = (*BASELINES, "truth", "broken")
"""Reserved names: the pages use them for rows, columns and study images."""


def open_systems(
    words: Sequence[str], data: Path, allow: Sequence[str], device: torch.device
) -> list[System]:
    """Open the systems of a command line, each `NAME=RUN_OR_CKPT_OR_FOLDER`."""
    named = [split_word(word) for word in words]
    for name, path in named:
        if [other for other, _ in named].count(name) > 1:
            raise UsageError(f"two systems are named {name}; give each its own NAME=")
        if name in _RESERVED:
            raise UsageError(f"{name} is a reserved name of the page; choose another NAME")
        if not (path.exists() or is_artifact(path)):
            raise UsageError(
                f"{path} does not exist; give NAME= and a run folder, a checkpoint, a W&B artifact "
                "or a folder of images colorized elsewhere"
            )
    return [open_system(name, path, data, allow, device) for name, path in named]


def split_word(word: str) -> tuple[str, Path]:
    """Split `NAME=PATH` into name and path; the name defaults to the path's."""
    name, path = split_name(word)
    path = with_bundled(path)
    if name or is_artifact(path):
        return name or path.name, path
    run = run_of(path)
    if run is not None:
        return run.resolve().name, path
    return path.resolve().name if path.is_dir() else path.stem, path


def open_system(
    name: str, path: Path, data: Path, allow: Sequence[str], device: torch.device
) -> System:
    """Open a checkpoint, a run folder, or a folder of images colorized elsewhere."""
    if path.is_file() or is_run(path) or is_artifact(path):
        return System(name, path, load_model(path, allow, device))
    try:
        files = list_images(path)
    except SourceError:
        raise UsageError(
            f"{path} is neither a run folder (with {CONFIG} or {CHECKPOINTS}/) nor an image folder"
        ) from None
    return System(name, path, FolderModel(path, files, data))


def find_truth(
    data: Path, split: SplitName | None, systems: Sequence[System], allow: Sequence[str]
) -> EvaluationImages:
    """Find the true images, as `evaluate` does.

    If a network was trained on this data, its split is used.
    """
    for system in systems:
        if system.trained is not None and system.trained.is_of(data):
            return find_images(data, split, system.trained.source(allow))
    return find_images(data, split)


def choose_images(
    found: EvaluationImages,
    systems: Sequence[System],
    most: int | None,
    seed: int,
) -> tuple[EvaluationImages, dict[str, list[str]]]:
    """Return the images that all systems have, and the names of those missing from any.

    Networks have all images. At most `most` images are drawn at random; None stands for all.
    """
    names = [found.images.name(i) for i in range(len(found.images))]
    missing = {}
    for system in systems:
        without = [name for name in names if not system.model.has(name)]
        if len(without) == len(names):
            raise UsageError(
                f"{system.path} contains none of the {len(names)} images; they are matched by "
                f"their relative names without suffix, such as {names[0]}"
            )
        if without:
            missing[system.name] = without
    lost = {name for without in missing.values() for name in without}
    common = [name for name in names if name not in lost]
    if not common:
        raise UsageError("no image is common to all systems")
    chosen = {*(common if most is None else random_subset(common, most, seed))}
    indices = [i for i, name in enumerate(names) if name in chosen]
    return replace(found, images=ChosenImages(found.images, indices)), missing


def trained_on(
    found: EvaluationImages, systems: Sequence[System], allow: Sequence[str]
) -> dict[str, int]:
    """Return how many of the images each model was trained on, if any."""
    counts = {
        system.name: count_trained(found.images, system.trained, allow)
        for system in systems
        if system.trained is not None
    }
    return {name: count for name, count in counts.items() if count}


def colorless(images: ImageSet) -> bool:
    """Return whether all readable images are grey; stops reading at the first that is not."""
    return all(is_grey(rgb) for _, rgb in whole_images(images))


def is_grey(rgb: Tensor) -> bool:
    """Return whether an image, (3, H, W) in uint8, has no color anywhere."""
    return bool((rgb.amax(dim=0) == rgb.amin(dim=0)).all())
