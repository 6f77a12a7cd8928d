"""The audit of an image set: its findings, and the list of images to leave out."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from torch.utils.data import DataLoader, Dataset

from lightning_colorize.common.errors import UsageError
from lightning_colorize.common.processes import cores
from lightning_colorize.common.progress import progress
from lightning_colorize.data.audit.duplicates import Group, find_duplicates
from lightning_colorize.data.audit.features import FEATURES, NEAR_GREY, audit_image
from lightning_colorize.data.decoding.files import ImageError
from lightning_colorize.data.images import ConcatImages, ImageSet
from lightning_colorize.data.name_list import name_with_reason
from lightning_colorize.data.sources import Splits
from lightning_colorize.data.splits import SPLIT_NAMES

_CHUNK = 32
# Fewer images are read before worker processes would have started.
_WORKERS_FROM = 256

_Audited = tuple[np.ndarray, ImageError | None]


@dataclass(frozen=True)
class Audit:
    """The findings of an audit.

    Attributes:
        parts: The images of each split, in the order train, val, test.
        images: All of them, one split after the other.
        splits: The split index of each image, (N,), uint8.
        features: The features of each image, (N,) of `FEATURES`.
        broken: The error of each broken image, by index.
        min_side: Pixels of the short side below which an image is tiny.
    """

    parts: Splits
    images: ImageSet
    splits: np.ndarray
    features: np.ndarray
    broken: dict[int, ImageError]
    min_side: int

    @cached_property
    def near_grey(self) -> np.ndarray:
        """Indices of the images with hardly any color."""
        return np.flatnonzero(self._whole & (self.features["chroma"] < NEAR_GREY))

    @cached_property
    def tiny(self) -> np.ndarray:
        """Indices of the images whose short side is below `min_side`."""
        short = np.minimum(self.features["height"], self.features["width"])
        return np.flatnonzero(self._whole & (short < self.min_side))

    @cached_property
    def cmyk(self) -> np.ndarray:
        """Indices of the CMYK images."""
        return np.flatnonzero(self.features["cmyk"])

    @cached_property
    def cmyk_without_profile(self) -> np.ndarray:
        """Indices of the CMYK images whose colors are undefined."""
        return np.flatnonzero(self.features["cmyk"] & ~self.features["has_profile"])

    @property
    def groups(self) -> list[Group]:
        """The groups of duplicates, leaking ones first."""
        return self._duplicates[0]

    @property
    def pairs(self) -> list[Group]:
        """The leaking pairs whose images belong to different groups."""
        return self._duplicates[1]

    @cached_property
    def _duplicates(self) -> tuple[list[Group], list[Group]]:
        faulty = np.zeros(len(self.features), dtype=bool)
        for indices in (self.near_grey, self.tiny, self.cmyk_without_profile):
            faulty[indices] = True
        return find_duplicates(self.features, self.splits, faulty)

    @property
    def leaks(self) -> list[Group]:
        """Duplicates in more than one split: groups, then pairs."""
        return [*(group for group in self.groups if group.leaks), *self.pairs]

    def split(self, index: int) -> str:
        """Return the name of an image's split."""
        return tuple(self.parts)[int(self.splits[index])]

    @property
    def _whole(self) -> np.ndarray:
        return np.asarray(self.features["bytes"] > 0)


def audit(splits: Splits, min_side: int) -> Audit:
    """Read every image once and compute its features, about a hundred bytes each.

    Raises:
        UsageError: If the images are not files.
    """
    parts = {name: splits[name] for name in SPLIT_NAMES if name in splits}
    images = ConcatImages(list(parts.values()))
    if not _has_files(images):
        raise UsageError("audit reads image files, and these images are not files")
    features = np.zeros(len(images), dtype=FEATURES)
    broken: dict[int, ImageError] = {}
    for index, (own, error) in enumerate(progress(_audited(images), len(images), "auditing")):
        features[index] = own
        if error is not None:
            broken[index] = error
    indices = np.arange(len(parts), dtype=np.uint8)
    indices = np.repeat(indices, [len(part) for part in parts.values()])
    return Audit(parts, images, indices, features, broken, min_side)


def exclusion_list(found: Audit) -> dict[int, str]:
    """Return the indices of the images to leave out, each with the reason.

    These are broken, tiny and near-grey images, CMYK images without a profile, and all copies but
    the representative of each group.
    """
    excluded: dict[int, str] = {}
    for index, reason in _faults(found):
        excluded.setdefault(index, reason)
    return excluded


def as_text(found: Audit, excluded: Mapping[int, str]) -> str:
    """Return an exclusion list as text for a source's `exclude_list`, reasons as comments."""
    return "".join(
        name_with_reason(found.images.name(index), reason) for index, reason in excluded.items()
    )


def _faults(found: Audit) -> Iterator[tuple[int, str]]:
    features = found.features
    for index, error in found.broken.items():
        yield index, f"broken: {error.reason}"
    for index in map(int, found.tiny):
        yield index, f"tiny: {features['width'][index]} x {features['height'][index]}"
    for index in map(int, found.cmyk_without_profile):
        yield index, "CMYK without a profile: its colors are undefined"
    for index in map(int, found.near_grey):
        yield index, f"near-grey: 95 % of it below chroma {features['chroma'][index]:.1f}"
    for group in found.groups:
        other = group.representative
        for index in map(int, group.copies):
            same = features["digest"][index] == features["digest"][other]
            kind = "copy" if same else "near duplicate"
            yield index, f"{kind} of {found.images.name(other)} ({found.split(other)})"


def _has_files(images: ImageSet) -> bool:
    try:
        return images.encoded(0) is not None
    except ImageError:
        return True


class _AuditedImages(Dataset[_Audited]):
    def __init__(self, images: ImageSet) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> _Audited:
        return audit_image(self.images, index)


def _audited(images: ImageSet) -> Iterator[_Audited]:
    """Yield the features and the error of each image, in order."""
    workers = cores() if len(images) >= _WORKERS_FROM else 0
    chunks = DataLoader(_AuditedImages(images), _CHUNK, num_workers=workers, collate_fn=list)
    for chunk in chunks:
        yield from chunk
