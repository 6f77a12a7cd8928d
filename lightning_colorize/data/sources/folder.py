"""A folder of photographs, of any depth."""

import sys
from collections.abc import Collection
from pathlib import Path

from pytorch_lightning.utilities import rank_zero_only

from lightning_colorize.common.errors import UsageError
from lightning_colorize.data.images import FileImages
from lightning_colorize.data.sources.base import Root, Source, SourceError, Splits
from lightning_colorize.data.sources.listing import (
    list_images,
    listed_names,
    matching,
    require_folder,
)
from lightning_colorize.data.splits import (
    DEFAULT_SHARES,
    SPLIT_NAMES,
    random_subset,
    split_names,
    split_of,
)


class FolderSource(Source):
    """A folder of photographs, of any depth.

    Sub-folders `train`, `val` (or `valid`, `validation`) and `test` are the splits; what lies
    beside them is not used, and one line says how many images that are. Without `val`, a tenth
    of `train` is split off by hash; without `test` there is no test split. Folders of these names
    count as splits if `train` is among them or if there are no other sub-folders; else, and in any
    other folder, images are split by a hash of their relative name, which stays as it is when
    files are added.

    Args:
        include: Only images whose file name or relative name matches this shell pattern, or one
            of a list of them: `basset_hound_*`, `cats/*`.
        exclude: Leave out images that match, likewise.
        exclude_list: Leave out the images named in this text file: names relative to the
            folder, one a line, `#` comments allowed; the `broken.txt` of a run is such a file.
        splits: How to split a folder without split sub-folders: shares that add up to at most 1
            (default `{train: 0.8, val: 0.1, test: 0.1}`), or counts
            (`{train: 134, val: 36, test: 30}`), taken in the order of the hash.
        max_images: Train on at most so many images, chosen at random; validation and test keep
            all theirs.
        seed: Chooses which `max_images` images.
    """

    def __init__(
        self,
        include: str | list[str] | None = None,
        exclude: str | list[str] | None = None,
        exclude_list: Path | None = None,
        splits: dict[str, float] | None = None,
        max_images: int | None = None,
        seed: int = 0,
    ) -> None:
        if max_images is not None and max_images < 1:
            raise SourceError(f"max_images is {max_images}: it must be at least 1")
        self.include = include
        self.exclude = exclude
        self.exclude_list = exclude_list
        self.shares = splits
        self.max_images = max_images
        self.seed = seed

    def splits(self, root: Root | None) -> Splits:
        """Return the images of each split; names are relative to the folder.

        Args:
            root: The folder.

        Raises:
            SourceError: If there is no such folder, or no image in it that is asked for.
        """
        folder = require_folder(root, type(self).__name__)
        names = self.split_names_of(folder)
        return {split: FileImages(folder, part) for split, part in names.items()}

    def split_names_of(self, folder: Path, excluded: Collection[str] = ()) -> dict[str, list[str]]:
        """Return the names of each split of an existing folder, but for those excluded."""
        names = self._chosen(folder, list_images(folder), set(excluded))
        splits = self._by_sub_folder(folder, names)
        if splits is None:
            try:
                splits = split_names(names, self.shares or DEFAULT_SHARES)
            except UsageError as error:
                raise SourceError(f"{folder}: {error}") from error
        if self.max_images is not None and "train" in splits:
            splits["train"] = random_subset(splits["train"], self.max_images, self.seed)
        return splits

    def _chosen(self, folder: Path, names: list[str], excluded: set[str]) -> list[str]:
        found = len(names)
        excluded |= listed_names(self.exclude_list, names, folder)
        if self.exclude is not None:
            excluded |= matching(names, self.exclude)
        if self.include is not None:
            included = matching(names, self.include)
            if not included:
                raise SourceError(
                    f"{folder}: none of {found} images matches include: {self.include}"
                )
            names = [name for name in names if name in included]
        names = [name for name in names if name not in excluded]
        if not names:
            raise SourceError(f"{folder}: exclude and exclude_list leave none of {found} images")
        return names

    def _by_sub_folder(self, folder: Path, names: list[str]) -> dict[str, list[str]] | None:
        parts: dict[str, list[str]] = {}
        tops: dict[str, str] = {}
        others: list[str] = []
        for name in names:
            top, slash, _ = name.partition("/")
            split = split_of(top) if slash else None
            if split is None:
                others.append(name)
            elif tops.setdefault(split, top) != top:
                raise SourceError(
                    f"{folder} has both {tops[split]}/ and {top}/: keep one as the {split} split"
                )
            else:
                parts.setdefault(split, []).append(name)
        if not parts or ("train" not in parts and others):
            return None
        if self.shares is not None:
            raise SourceError(
                f"{folder} is split already, into {', '.join(f'{top}/' for top in tops.values())}: "
                "leave out splits (null), or move the images out of these folders"
            )
        if others:
            _say_unused(folder, others, [f"{top}/" for top in tops.values()])
        if "val" not in parts and "train" in parts:
            parts |= split_names(parts["train"], {"train": 0.9, "val": 0.1})
        return {split: parts[split] for split in SPLIT_NAMES if split in parts}


@rank_zero_only
def _say_unused(folder: Path, names: list[str], tops: list[str]) -> None:
    """Say in the first process which images are left out although nobody asked for that."""
    count = f"{len(names):,} image{'s' * (len(names) > 1)}"
    print(
        f"{folder}: {count} beside {', '.join(tops)} not used (first: {names[0]})", file=sys.stderr
    )
