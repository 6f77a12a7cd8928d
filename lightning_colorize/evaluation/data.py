"""The images to evaluate: center crops, like the test images of `fit` unless it stretches."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from lightning_colorize.color import ColorBatch
from lightning_colorize.common.bundled import BUNDLED
from lightning_colorize.common.errors import UsageError
from lightning_colorize.common.progress import progress
from lightning_colorize.data.convert import to_color_batch
from lightning_colorize.data.decoding.files import ImageError
from lightning_colorize.data.image_set import ChosenImages, ConcatImages, ImageSet
from lightning_colorize.data.module import ColorizationDataModule
from lightning_colorize.data.sources import (
    FolderSource,
    Source,
    SourceError,
    Splits,
    WebDatasetSource,
    is_pack,
)
from lightning_colorize.data.sources.base import GivenSplits
from lightning_colorize.data.sources.listing import require_folder
from lightning_colorize.data.splits import category_finder, random_subset
from lightning_colorize.evaluation.systems import System
from lightning_colorize.inference import TrainingData
from lightning_colorize.models.exported import EXPORTED

SplitName = Literal["train", "val", "test", "all"]


@dataclass(frozen=True)
class EvaluationImages:
    """Images to evaluate, with the split of the folder that they are: `images` and `split`."""

    images: ImageSet
    split: SplitName

    @cached_property
    def names(self) -> list[str]:
        """The name of each image."""
        return [self.images.name(index) for index in range(len(self.images))]

    @cached_property
    def category_of(self) -> Callable[[str], str]:
        """A function from an image's name to its category."""
        return category_finder(self.names)

    @property
    def labels(self) -> dict[str, str]:
        """The label of each image by name, its category if the data has no labels."""
        labels = self.images.notes.labels or map(self.category_of, self.names)
        return dict(zip(self.names, labels, strict=True))

    def describe(self, count: int, folder: Path, size: int) -> str:
        """Return the number of images, their split, folder and size in pixels."""
        which = "" if self.split == "all" else f"{self.split} "
        return f"{count:,} {which}image{'s' * (count != 1)} of {folder} at {size} px"

    def batches(
        self, size: int, batch_size: int, device: torch.device, title: str | None = None
    ) -> Iterator[ColorBatch]:
        """Yield the images as (L, ab) squares on the device; corrupt ones are reported and skipped.

        `size` is their height and width in pixels; with a title, a progress bar is shown.
        """
        datamodule = ColorizationDataModule(
            source=GivenSplits({"test": self.images}),
            size=size,
            batch_size=batch_size,
            cache="never",  # each image is read once
            max_broken_share=1.0,
        )
        datamodule.setup("test")
        raws = datamodule.loader("test")
        try:
            for raw in raws if title is None else progress(raws, len(raws), title):
                yield to_color_batch(raw._replace(rgb=raw.rgb.to(device)))
        finally:
            datamodule.teardown("test")  # ends the workers, for which garbage collection may wait


def find_images(
    folder: Path,
    split: SplitName | None = None,
    source: Source | None = None,
    default: SplitName = "test",
) -> EvaluationImages:
    """Find the images to evaluate in a folder.

    Args:
        folder: A folder with train, val and test, any other image folder, or packed shards.
        split: The split to use; by default `default` if the folder has splits, else all images.
            Folders without splits are split by hash, as in `fit`.
        source: The source that split the folder for training.
        default: The default split of a folder with splits.

    Raises:
        UsageError: If the folder has no image, or no such split.
    """
    if source is None and is_pack(folder):
        source = WebDatasetSource()
    if source is not None:
        return _chosen(folder, source.splits(folder), split or default)
    require_folder(folder, "evaluate", "--data")
    try:
        # Refused for a folder with splits; other errors occur again below.
        whole = FolderSource(splits={"test": 1.0}).splits(folder)
    except SourceError:
        return _chosen(folder, FolderSource().splits(folder), split or default)
    if split is None or split == "all":
        return _chosen(folder, whole, "all")
    return _chosen(folder, FolderSource().splits(folder), split)


def _chosen(folder: Path, splits: Splits, split: SplitName) -> EvaluationImages:
    if split == "all":
        parts = list(splits.values())
        return EvaluationImages(parts[0] if len(parts) == 1 else ConcatImages(parts), "all")
    if split not in splits:
        raise UsageError(
            f"{folder} has no {split} images, only {', '.join(splits)}; "
            "choose with --split, or --split all"
        )
    return EvaluationImages(splits[split], split)


def count_trained(images: ImageSet, trained: TrainingData, allow: Sequence[str]) -> int:
    """Return how many files were trained on, under any name; 0 if the training images are missing.

    `allow` names classes, modules or packages that configurations may import in addition to ours.
    """
    try:
        splits = trained.source(allow).splits(trained.root)
    except UsageError:
        return 0
    files = set(_files(splits["train"])) if "train" in splits else set()
    return sum(file in files for file in _files(images))


def _files(images: ImageSet) -> Iterator[str]:
    """Yield the files of a set; sets without files, such as regions in memory, yield none."""
    folder_of = lru_cache(os.path.realpath)
    for folder, name in filter(None, map(images.file, range(len(images)))):
        yield os.path.normpath(os.path.join(folder_of(folder), name))


def find_truth(
    data: Path,
    split: SplitName | None,
    systems: Sequence[System],
    allow: Sequence[str],
    default: SplitName = "test",
) -> EvaluationImages:
    """Like `find_images`; if a network was trained on this data, its split is used."""
    for system in systems:
        if system.trained is not None and system.trained.is_of(data):
            return find_images(data, split, system.trained.source(allow), default)
    return find_images(data, split, default=default)


def choose_images(
    found: EvaluationImages,
    systems: Sequence[System],
    max_images: int | None,
    seed: int,
) -> tuple[EvaluationImages, dict[str, list[str]]]:
    """Return the images that all systems have, and the names of those missing from any.

    Networks have all images. At most `max_images` images are drawn at random; None stands for all.
    """
    names, missing = found.names, {}
    for system in systems:
        without = [name for name in names if not system.model.has(name)]
        if len(without) == len(names):
            raise UsageError(
                f"{system.path} contains none of the {len(names)} images; they are matched by "
                f"their relative names without suffix, such as {names[0]}"
            )
        if without:
            missing[system.name] = without
    lost = set().union(*missing.values())
    common = [name for name in names if name not in lost]
    if not common:
        raise UsageError("no image is common to all systems")
    chosen = {*(common if max_images is None else random_subset(common, max_images, seed))}
    indices = [i for i, name in enumerate(names) if name in chosen]
    return replace(found, images=ChosenImages(found.images, indices)), missing


def trained_on(
    found: EvaluationImages, systems: Sequence[System], allow: Sequence[str]
) -> dict[str, int]:
    """Return how many of the images each model was trained on, if any."""
    known = ((system.name, system.trained) for system in systems if system.trained is not None)
    counts = {name: count_trained(found.images, trained, allow) for name, trained in known}
    return {name: count for name, count in counts.items() if count}


def trained_remark(found: EvaluationImages, system: System, data: Path, count: int) -> str | None:
    """Return what is known of images of `data` that a system was trained on; `count` of them."""
    model, path, trained = system.model, system.model.path, system.trained
    if path is not None and path in BUNDLED.values():
        listed = path.with_name("SOURCES.csv.gz")
        return f"the training images are listed in {listed}; these may be part of them"
    if trained is not None:
        hint = "; --split test excludes them" if trained.is_of(data) else ""
        if count == 0 or (hint and found.split == "train"):
            return None
        return f"{count:,} of these {len(found.images):,} are training images{hint}"
    if path is not None and path.suffix in EXPORTED:
        return "an exported model does not record its training data; these may be part of it"
    if model.data_root is not None:
        root = Path(os.path.expanduser(model.data_root))
        there, here = root.resolve(), data.resolve()
        if there.is_relative_to(here) or here.is_relative_to(there):
            split = "" if found.split == "all" else "this is fit's default split, and "
            return (
                f"{model} is not in a run folder, so its split of {root} is unknown: "
                f"{split}some of these images may be training images"
            )
    return None


def colorless(images: ImageSet) -> bool:
    """Return whether all readable images are grey; stops reading at the first that is not."""
    for index in range(len(images)):
        with suppress(ImageError):
            if not is_grey(images.read(index)):
                return False
    return True


def is_grey(rgb: Tensor) -> bool:
    """Return whether an image, (3, H, W) in uint8, has no color anywhere."""
    return bool((rgb.amax(dim=0) == rgb.amin(dim=0)).all())
