"""ImageNet (ILSVRC 2012) as it is unpacked."""

from pathlib import Path

from lightning_colorize.data.images import FileImages
from lightning_colorize.data.sources.base import Root, Source, SourceError, Splits
from lightning_colorize.data.sources.listing import list_images, listed_names, require_folder
from lightning_colorize.data.splits import random_subset

_LAYOUT = "ROOT/train/<wnid>/*.JPEG and ROOT/val/*.JPEG"


class ImageNetSource(Source):
    """ImageNet (ILSVRC 2012): `train/<wnid>/*.JPEG` and `val/`, flat or in class folders.

    The root is the folder that holds `train` and `val`, or the one above Kaggle's
    `Data/CLS-LOC`. Validation is ImageNet's own; there is no test split, since published figures
    on ImageNet are those of its validation images.

    Args:
        max_images: Train on at most so many images, chosen at random over all classes.
        max_val: Validate on at most so many of the 50,000, chosen likewise.
        seed: Chooses which.
        exclude_list: Leave out the images named in this text file, `train/<wnid>/<file>` and so
            on, one a line, before any are chosen; the list of `audit` and the `broken.txt` of a run
            are such files.
    """

    def __init__(
        self,
        max_images: int | None = None,
        max_val: int | None = None,
        seed: int = 0,
        exclude_list: Path | None = None,
    ) -> None:
        for name, limit in {"max_images": max_images, "max_val": max_val}.items():
            if limit is not None and limit < 1:
                raise SourceError(f"{name} is {limit}: it must be at least 1")
        self.limits = {"train": max_images, "val": max_val}
        self.seed = seed
        self.exclude_list = exclude_list

    def splits(self, root: Root | None) -> Splits:
        """Return the images of training and validation, named `train/<wnid>/<file>` and so on.

        Args:
            root: The folder.

        Raises:
            SourceError: If the folder is not laid out so, or `exclude_list` is of another one.
        """
        given = require_folder(root, "ImageNetSource")
        layouts = (given, given / "Data" / "CLS-LOC", given / "ILSVRC" / "Data" / "CLS-LOC")
        folder = next((place for place in layouts if (place / "train").is_dir()), given)
        parts: dict[str, list[str]] = {}
        for split in self.limits:
            if not (folder / split).is_dir():
                raise SourceError(
                    f"{folder} has no folder {split}/: ImageNetSource wants {_LAYOUT}"
                )
            names = list_images(folder / split)
            if split == "train" and not any("/" in name for name in names):
                raise SourceError(
                    f"{folder / split} has no class folders: ImageNetSource wants {_LAYOUT}; "
                    "FolderSource takes any layout"
                )
            parts[split] = names
        excluded: set[str] = set()
        if self.exclude_list is not None:  # without one, a million names need not be made twice
            every = [f"{split}/{name}" for split, names in parts.items() for name in names]
            excluded = listed_names(self.exclude_list, every, folder)
        splits: Splits = {}
        for split, limit in self.limits.items():
            names = parts[split]
            if excluded:
                names = [name for name in names if f"{split}/{name}" not in excluded]
            if limit is not None:
                names = random_subset(names, limit, self.seed)
            if names:
                splits[split] = FileImages(folder, [f"{split}/{name}" for name in names])
        return splits
