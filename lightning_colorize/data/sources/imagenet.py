"""ImageNet (ILSVRC 2012) as it is unpacked."""

from lightning_colorize.data.pictures import FilePictures
from lightning_colorize.data.sources.base import Root, Source, SourceError, Splits
from lightning_colorize.data.sources.listing import list_pictures, require_folder
from lightning_colorize.data.splits import random_subset

_LAYOUT = "ROOT/train/<wnid>/*.JPEG and ROOT/val/*.JPEG"


class ImageNetSource(Source):
    """ImageNet (ILSVRC 2012): `train/<wnid>/*.JPEG` and `val/`, flat or in class folders.

    The root is the folder that holds `train` and `val`, or the one above Kaggle's
    `Data/CLS-LOC`. Validation is ImageNet's own; there is no test split, since published figures
    on ImageNet are those of its validation pictures.

    Args:
        max_images: Train on at most so many pictures, chosen at random over all classes.
        max_val: Validate on at most so many of the 50,000, chosen likewise.
        seed: Chooses which.
    """

    def __init__(
        self, max_images: int | None = None, max_val: int | None = None, seed: int = 0
    ) -> None:
        for name, limit in {"max_images": max_images, "max_val": max_val}.items():
            if limit is not None and limit < 1:
                raise SourceError(f"{name} is {limit}: it must be at least 1")
        self.limits = {"train": max_images, "val": max_val}
        self.seed = seed

    def splits(self, root: Root | None) -> Splits:
        """Return the pictures of training and validation, named `train/<wnid>/<file>` and so on.

        Args:
            root: The folder.

        Raises:
            SourceError: If the folder is not laid out so.
        """
        given = require_folder(root, "ImageNetSource")
        layouts = (given, given / "Data" / "CLS-LOC", given / "ILSVRC" / "Data" / "CLS-LOC")
        folder = next((place for place in layouts if (place / "train").is_dir()), given)
        splits: Splits = {}
        for split, limit in self.limits.items():
            if not (folder / split).is_dir():
                raise SourceError(
                    f"{folder} has no folder {split}/: ImageNetSource wants {_LAYOUT}"
                )
            names = list_pictures(folder / split)
            if split == "train" and not any("/" in name for name in names):
                raise SourceError(
                    f"{folder / split} has no class folders: ImageNetSource wants {_LAYOUT}; "
                    "FolderSource takes any layout"
                )
            if limit is not None:
                names = random_subset(names, limit, self.seed)
            splits[split] = FilePictures(folder, [f"{split}/{name}" for name in names])
        return splits
