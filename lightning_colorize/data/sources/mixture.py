"""Several folders, sampled by weight."""

from dataclasses import asdict, dataclass
from itertools import permutations
from pathlib import Path

from lightning_colorize.data.image_set import ConcatImages, FileImages, NameList, Notes
from lightning_colorize.data.name_list import read_name_list
from lightning_colorize.data.sources.base import Root, Source, SourceError, Splits
from lightning_colorize.data.sources.folder import FolderSource
from lightning_colorize.data.sources.listing import require_folder
from lightning_colorize.data.splits import SPLIT_NAMES


@dataclass
class MixtureFolder:
    """One folder of a mixture. All settings but `root` and `weight` are FolderSource's.

    Args:
        root: The folder, absolute or relative to `data.root` (without one, to the working
            directory).
        weight: How often a training image is drawn from it, relative to the other folders.
        include: Use only images that match these shell patterns, such as `*color/*`.
        exclude: Leave out images that match these shell patterns.
        exclude_list: Leave out images named in this text file.
        splits: Shares or counts, for a folder without split sub-folders.
        sample: Use at most this many of its images, drawn at random before the split.
        max_images: Use at most this many of its training images.
        seed: Seed of both random draws.
    """

    root: Path
    weight: float = 1.0
    include: str | list[str] | None = None
    exclude: str | list[str] | None = None
    exclude_list: Path | None = None
    splits: dict[str, float] | None = None
    sample: int | None = None
    max_images: int | None = None
    seed: int = 0


class MixtureSource(Source):
    """Several folders, sampled by weight.

    Each folder is split as FolderSource splits it. A training image comes from a folder as often
    as its weight says, whatever the folder's size. The validation and test splits contain all
    images of all folders, once each. Names begin with the folder's name, so that metrics can be
    grouped by folder; with several folders, this name is an image's label.

    Args:
        folders: Folders with their weights, `{photos/faces: 1, photos/landscapes: 2}`, or a list of
            folders with more settings.
        exclude_list: Text file of names to leave out, with the folder's name in front, such as a
            run's `broken.txt`.
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
            if not 0 < folder.weight < float("inf"):
                raise SourceError(
                    f"MixtureSource: the weight of {folder.root} is {folder.weight:g}: it must be "
                    "above 0 and finite"
                )
        self.folders = folders
        self.exclude_list = exclude_list

    def splits(self, root: Root | None) -> Splits:
        """Return the images of each split; training images have weights.

        Args:
            root: The parent of relative folders; None for the working directory.

        Raises:
            SourceError: If a folder is missing, has no images or is named twice.
        """
        base = Path() if root is None else require_folder(root, "MixtureSource")
        try:
            roots = [
                require_folder(base / folder.root.expanduser(), "MixtureSource", "folders")
                for folder in self.folders
            ]
        except SourceError as error:
            raise SourceError(f"{error}; for another layout: --data.source FolderSource") from None
        prefixes = [f"{label}/" for label in _labels(roots)]
        excluded = set() if self.exclude_list is None else read_name_list(self.exclude_list)
        if excluded and not any(name.startswith(tuple(prefixes)) for name in excluded):
            raise SourceError(
                f"exclude_list: no name in {self.exclude_list} begins with {' or '.join(prefixes)}"
            )
        parts: dict[str, list[FileImages]] = {split: [] for split in SPLIT_NAMES}
        weights: list[float] = []
        for folder, path, prefix in zip(self.folders, roots, prefixes, strict=True):
            own = {name.removeprefix(prefix) for name in excluded if name.startswith(prefix)}
            settings = {k: v for k, v in asdict(folder).items() if k not in ("root", "weight")}
            names = FolderSource(**settings).split_names_of(path, own)
            for split, part in names.items():
                labels = NameList([prefix[:-1]] * len(part)) if len(roots) > 1 else None
                parts[split].append(FileImages(path, part, prefix=prefix, notes=Notes(labels)))
            if "train" in names:
                weights.append(folder.weight)
        return {
            split: ConcatImages(sets, weights if split == "train" else None)
            for split, sets in parts.items()
            if sets
        }


def _labels(roots: list[Path]) -> list[str]:
    """Return the folders' names, with as many parents as needed to make them unique."""
    parts = [root.resolve().parts for root in roots]
    for outer, inner in permutations(parts, 2):
        if inner[: len(outer)] == outer:
            # Each is split by itself: a test image of one could be trained on in the other.
            raise SourceError(
                f"MixtureSource: {Path(*outer)} includes {Path(*inner)}: name one of them"
            )
    depth = 1
    while len({own[-depth:] for own in parts}) < len(parts):
        depth += 1
    return ["-".join(own[-depth:]) for own in parts]
