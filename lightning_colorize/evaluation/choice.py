"""The images of a comparison: those that every system has."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from lightning_colorize.common.errors import UsageError
from lightning_colorize.data.decoding.files import ImageError
from lightning_colorize.data.images import FileImages, ImageSet
from lightning_colorize.data.sources import FolderSource
from lightning_colorize.data.splits import random_subset
from lightning_colorize.evaluation.data import (
    EvaluationImages,
    SplitName,
    count_trained,
    find_images,
)
from lightning_colorize.evaluation.systems import Given, Network, System
from lightning_colorize.inference import TrainingData, training_data


def find_truth(
    data: Path, split: SplitName | None, systems: Sequence[System], allow: Sequence[str]
) -> EvaluationImages:
    """Find the true images, as `evaluate` does.

    If a network was trained on this folder, its split of the folder is used.

    Raises:
        UsageError: If there are no images, or no such split.
    """
    for trained in _training(systems).values():
        if trained.is_of(data):
            source = trained.source(allow)
            if isinstance(source, FolderSource):
                return find_images(data, split, source)
    return find_images(data, split)


def choose_images(
    data: Path,
    found: EvaluationImages,
    systems: Sequence[System],
    most: int | None,
    seed: int,
) -> tuple[EvaluationImages, dict[str, list[str]]]:
    """Return the images that all systems have, and the names of those that a system lacks.

    Args:
        data: The folder of the true images.
        found: All of them.
        systems: The compared systems; networks have all images.
        most: Size of a random subset, if there are more; None for all.
        seed: Seed of the subset.

    Raises:
        UsageError: If no image is left.
    """
    names = [found.images.name(i) for i in range(len(found.images))]
    missing = {}
    for system in systems:
        if isinstance(system, Given):
            without = [name for name in names if system.images.find(name) is None]
            if len(without) == len(names):
                raise UsageError(
                    f"{system.place} contains none of the {len(names)} images; they are matched by "
                    f"their relative names without suffix, such as {names[0]}"
                )
            if without:
                missing[system.name] = without
    lost = {name for without in missing.values() for name in without}
    common = [name for name in names if name not in lost]
    if not common:
        raise UsageError("no image is common to all systems")
    chosen = common if most is None else random_subset(common, most, seed)
    return replace(found, images=FileImages(data, chosen)), missing


def trained_on(
    found: EvaluationImages, systems: Sequence[System], allow: Sequence[str]
) -> dict[str, int]:
    """Return how many of the images each network was trained on; without those of none."""
    training = _training(systems).items()
    counts = {name: count_trained(found.images, trained, allow) for name, trained in training}
    return {name: count for name, count in counts.items() if count}


def colorless(images: ImageSet) -> bool:
    """Return whether all images are grey; reads until the first that is not."""
    for index in range(len(images)):
        try:
            rgb = images.read(index)
        except ImageError:
            continue
        if not is_grey(rgb):
            return False
    return True


def is_grey(rgb: Tensor) -> bool:
    """Return whether an image, (3, H, W), has no color anywhere."""
    return bool((rgb.amax(dim=0) == rgb.amin(dim=0)).all())


def _training(systems: Sequence[System]) -> dict[str, TrainingData]:
    """Return the training data of the networks for which it is known, by system."""
    known = {}
    for system in systems:
        if isinstance(system, Network):
            try:
                data = training_data(system.loaded.path)
            except UsageError:  # `remarks` names it
                continue
            if data is not None:
                known[system.name] = data
    return known
