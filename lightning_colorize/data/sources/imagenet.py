"""ImageNet (ILSVRC 2012) as unpacked."""

from pathlib import Path

from lightning_colorize.data.sources.base import Root, Source, SourceError, Splits
from lightning_colorize.data.sources.listing import (
    labeled_images,
    list_images,
    listed_names,
    require_at_least_one,
    require_folder,
)
from lightning_colorize.data.splits import random_subset

_LAYOUT = "ROOT/train/<wnid>/*.JPEG and ROOT/val/*.JPEG"


class ImageNetSource(Source):
    """ImageNet (ILSVRC 2012): `train/<wnid>/*.JPEG` and `val/`, flat or in class folders.

    The root is the folder that contains `train` and `val`, or the one above Kaggle's
    `Data/CLS-LOC`. Validation uses ImageNet's validation images. There is no test split, because
    published ImageNet figures are measured on the validation images. The class folders are the
    labels.

    Args:
        max_images: Use at most this many training images, drawn at random over all classes.
        max_val: Use at most this many of the 50,000 validation images.
        seed: Seed of both random draws.
        exclude_list: Text file of names to leave out before any are drawn, one per line
            (`train/<wnid>/<file>`), such as the list of `audit` or a run's `broken.txt`.
    """

    def __init__(
        self,
        max_images: int | None = None,
        max_val: int | None = None,
        seed: int = 0,
        exclude_list: Path | None = None,
    ) -> None:
        require_at_least_one(max_images=max_images, max_val=max_val)
        self.limits = {"train": max_images, "val": max_val}
        self.seed = seed
        self.exclude_list = exclude_list

    def splits(self, root: Root | None) -> Splits:
        """Return the training and validation images, named `train/<wnid>/<file>` and so on.

        Raises:
            SourceError: If the folder has another layout, or `exclude_list` names other images.
        """
        root = require_folder(root, "ImageNetSource")
        layouts = (root, root / "Data" / "CLS-LOC", root / "ILSVRC" / "Data" / "CLS-LOC")
        folder = next((layout for layout in layouts if (layout / "train").is_dir()), root)
        parts: dict[str, list[str]] = {}
        for split in self.limits:
            if not (folder / split).is_dir():
                raise SourceError(
                    f"{folder} has no folder {split}/: ImageNetSource needs {_LAYOUT}"
                )
            names = list_images(folder / split)
            if split == "train" and not any("/" in name for name in names):
                raise SourceError(
                    f"{folder / split} has no class folders: ImageNetSource needs {_LAYOUT}; "
                    "FolderSource reads any layout"
                )
            parts[split] = names
        every = [f"{split}/{name}" for split, names in parts.items() for name in names]
        excluded = listed_names(self.exclude_list, every, folder)
        for split, limit in self.limits.items():
            names = [name for name in parts[split] if f"{split}/{name}" not in excluded]
            if limit is not None:
                names = random_subset(names, limit, self.seed)
            parts[split] = [f"{split}/{name}" for name in names]
        return labeled_images(folder, {split: own for split, own in parts.items() if own})
