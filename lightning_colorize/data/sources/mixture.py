"""Several folders, drawn from in given shares."""

from dataclasses import dataclass
from pathlib import Path

from lightning_colorize.data.images import ConcatImages, FileImages
from lightning_colorize.data.name_list import read_name_list
from lightning_colorize.data.sources.base import Root, Source, SourceError, Splits
from lightning_colorize.data.sources.folder import FolderSource
from lightning_colorize.data.sources.listing import require_folder
from lightning_colorize.data.splits import SPLIT_NAMES


@dataclass
class MixtureFolder:
    """One folder of a mixture; all but `root` and `weight` as in FolderSource.

    Args:
        root: The folder, absolute or relative to `data.root` (or, without one, to the working
            directory).
        weight: How often a training image is drawn from it, relative to the other folders.
        include: Only images that match these shell patterns.
        exclude: Leave out images that match these shell patterns.
        exclude_list: Leave out images named in this text file.
        splits: Shares or counts, for a folder without split sub-folders.
        max_images: Train on at most so many of its images.
        seed: Chooses which.
    """

    root: Path
    weight: float = 1.0
    include: str | list[str] | None = None
    exclude: str | list[str] | None = None
    exclude_list: Path | None = None
    splits: dict[str, float] | None = None
    max_images: int | None = None
    seed: int = 0


class MixtureSource(Source):
    """Several folders, drawn from in given shares.

    Each is split as FolderSource splits it. In training an image comes from each folder as often
    as its weight says, whatever the folders' sizes; validation and test hold all their images,
    once each. Names begin with the folder's name, so that figures can be given per folder.

    Args:
        folders: Folders with their weights, `{photos/faces: 1, photos/landscapes: 2}`, or a list
            of folders with further settings each.
        exclude_list: Leave out the images named in this text file, with names as they are
            reported, those of the folders in front: the `broken.txt` of a run is one.
    """

    def __init__(
        self,
        folders: dict[str, float] | list[MixtureFolder],
        exclude_list: Path | None = None,
    ) -> None:
        if isinstance(folders, dict):
            folders = [MixtureFolder(Path(root), weight) for root, weight in folders.items()]
        if not folders:
            raise SourceError("MixtureSource: folders is empty: name at least one folder")
        for folder in folders:
            if not folder.weight > 0:
                raise SourceError(
                    f"MixtureSource: the weight of {folder.root} is {folder.weight:g}: it must be "
                    "above 0"
                )
        self.folders = folders
        self.exclude_list = exclude_list

    def splits(self, root: Root | None) -> Splits:
        """Return the images of each split, those of training with weights.

        Args:
            root: Where relative folders are looked for; None for the working directory.

        Raises:
            SourceError: If a folder is missing, has no images or is named twice.
        """
        base = Path() if root is None else require_folder(root, "MixtureSource")
        roots = [
            require_folder(base / folder.root.expanduser(), "MixtureSource", "folders")
            for folder in self.folders
        ]
        excluded = set() if self.exclude_list is None else read_name_list(self.exclude_list)
        parts: dict[str, list[FileImages]] = {split: [] for split in SPLIT_NAMES}
        weights: list[float] = []
        labels = _labels(roots)
        if excluded and not any(
            name.startswith(f"{label}/") for name in excluded for label in labels
        ):
            raise SourceError(
                f"exclude_list: no name in {self.exclude_list} begins with {'/ or '.join(labels)}/"
            )
        for folder, place, label in zip(self.folders, roots, labels, strict=True):
            source = FolderSource(
                folder.include,
                folder.exclude,
                folder.exclude_list,
                folder.splits,
                folder.max_images,
                folder.seed,
            )
            own = {
                name.removeprefix(f"{label}/") for name in excluded if name.startswith(f"{label}/")
            }
            names = source.split_names_of(place, own)
            for split, part in names.items():
                parts[split].append(FileImages(place, part, prefix=f"{label}/"))
            if "train" in names:
                weights.append(folder.weight)
        return {
            split: ConcatImages(sets, weights if split == "train" else None)
            for split, sets in parts.items()
            if sets
        }


def _labels(roots: list[Path]) -> list[str]:
    """Return the folders' names, with those of their parents where the last ones are alike."""
    parts = [root.resolve().parts for root in roots]
    if len(set(parts)) < len(parts):
        twice = next(root for i, root in enumerate(roots) if parts[i] in parts[:i])
        raise SourceError(f"MixtureSource: {twice} is named twice: add its weights up")
    for outer in parts:
        for inner in parts:
            if inner != outer and inner[: len(outer)] == outer:
                # Each is split by itself: a test image of one could be trained on in the other.
                raise SourceError(
                    f"MixtureSource: {Path(*inner)} lies inside {Path(*outer)}: name one of them"
                )
    depth = 1
    while len({own[-depth:] for own in parts}) < len(parts):
        depth += 1
    return ["-".join(own[-depth:]) for own in parts]
