"""An image folder of any depth."""

from collections.abc import Collection
from pathlib import Path

from lightning_colorize.common.errors import UsageError
from lightning_colorize.common.text import printable
from lightning_colorize.data.sources.base import Root, Source, SourceError, Splits, report
from lightning_colorize.data.sources.listing import (
    is_hidden,
    labeled_images,
    list_images,
    listed_names,
    matching,
    require_at_least_one,
    require_folder,
)
from lightning_colorize.data.splits import (
    DEFAULT_SHARES,
    SPLIT_NAMES,
    random_subset,
    resembles_split,
    split_names,
    split_of,
)


class FolderSource(Source):
    """An image folder of any depth.

    The sub-folders `train` (or `training`), `val` (or `valid`, `validation`) and `test` (or
    `testing`) are the splits, if `train` is among them or if there are no other sub-folders. Images
    outside of them are not used, and a message says how many there are. Without `val`, a tenth of
    `train` becomes the validation split; without `test` there is no test split.

    Any other folder is split by a hash of each image's relative name, so an image stays in its
    split when files are added. A message names sub-folders that look like splits (`train2017`).

    An image's label is the first folder of its name below the split's folder, if the training
    images have at least two.

    Args:
        include: Use only images whose file name or relative name matches this shell pattern, or
            one of a list of patterns: `basset_hound_*`, `*color/*`. `*` also matches `/`.
        exclude: Leave out the images that match.
        exclude_list: Text file of names to leave out, one relative name per line, `#` comments
            allowed, such as the list of `audit` or a run's `broken.txt`.
        splits: How to split a folder without split sub-folders: shares that add up to at most 1
            (default `{train: 0.8, val: 0.1, test: 0.1}`), or counts
            (`{train: 134, val: 36, test: 30}`), taken in the order of the hash.
        sample: Use at most this many images of the whole folder, drawn at random before the split.
        max_images: Use at most this many training images, drawn at random. Validation and test
            splits keep all their images.
        seed: Seed of both random draws. Every process and every run draws the same images.
    """

    def __init__(
        self,
        include: str | list[str] | None = None,
        exclude: str | list[str] | None = None,
        exclude_list: Path | None = None,
        splits: dict[str, float] | None = None,
        sample: int | None = None,
        max_images: int | None = None,
        seed: int = 0,
    ) -> None:
        require_at_least_one(sample=sample, max_images=max_images)
        self.include = include
        self.exclude = exclude
        self.exclude_list = exclude_list
        self.shares = splits
        self.sample = sample
        self.max_images = max_images
        self.seed = seed

    def splits(self, root: Root | None) -> Splits:
        """Return the images of each split; names are relative to the folder.

        Raises:
            SourceError: If the folder does not exist, or has no matching image.
        """
        folder = require_folder(root, type(self).__name__)
        return labeled_images(folder, self.split_names_of(folder))

    def split_names_of(self, folder: Path, excluded: Collection[str] = ()) -> dict[str, list[str]]:
        """Return the image names of each split of an existing folder, without those excluded."""
        others: list[str] = []
        names = self._selected(folder, list_images(folder, others=others), set(excluded))
        ends = [Path(name).name for name in others]
        hidden = sum(map(is_hidden, ends))
        bare = sum("." not in end and not is_hidden(end) for end in ends)
        if hidden + bare:
            report(f"{folder}: not read: {hidden:,} hidden, {bare:,} without a suffix")
        splits = self._by_sub_folder(folder, names)
        if splits is None:
            try:
                splits = split_names(names, self.shares or DEFAULT_SHARES)
            except UsageError as error:
                raise SourceError(f"{folder}: {error}") from error
        if self.max_images is not None and "train" in splits:
            splits["train"] = random_subset(splits["train"], self.max_images, self.seed)
        return splits

    def _selected(self, folder: Path, names: list[str], excluded: set[str]) -> list[str]:
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
        return names if self.sample is None else random_subset(names, self.sample, self.seed)

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
            folders = {name.partition("/")[0] for name in names if "/" in name}
            if self.shares is None and (alike := sorted(filter(resembles_split, folders))):
                report(
                    f"{folder}: {printable('/, '.join(alike))}/ ignored as splits: images are "
                    "split by a hash of their names; splits are named train/, val/ and test/"
                )
            return None
        if self.shares is not None:
            raise SourceError(
                f"{folder} is already split, into {', '.join(f'{top}/' for top in tops.values())}: "
                "leave out splits (null), or move the images out of these folders"
            )
        if others:
            count = f"{len(others):,} image{'s' * (len(others) > 1)}"
            report(
                f"{folder}: {count} outside of {'/, '.join(tops.values())}/ not used "
                f"(first: {printable(others[0])})"
            )
        if "val" not in parts and "train" in parts:
            parts |= split_names(parts["train"], {"train": 0.9, "val": 0.1})
        return {split: parts[split] for split in SPLIT_NAMES if split in parts}
