"""The audit of an image set: its findings, and the list of images to leave out."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import DataLoader

from lightning_colorize.common.errors import UsageError
from lightning_colorize.common.processes import cores, quiet_decoders
from lightning_colorize.common.progress import progress
from lightning_colorize.data.audit.duplicates import DuplicateGroup, find_duplicates
from lightning_colorize.data.audit.features import FEATURES, NEAR_GREY, audit_image
from lightning_colorize.data.decoding.files import ImageError
from lightning_colorize.data.image_set import ConcatImages, ImageSet
from lightning_colorize.data.name_list import name_with_reason
from lightning_colorize.data.sources import Splits
from lightning_colorize.data.splits import SPLIT_NAMES

_CHUNK = 32
# Fewer images are read before worker processes would have started.
_WORKERS_FROM = 256


@dataclass(frozen=True)
class Audit:
    """The findings of an audit; an image is named by its index.

    `parts` are in the order train, val, test, and `images` are one split after the other. `splits`
    has the split index of each image, (N,), uint8, and `features` is (N,) of `FEATURES`. `faults`
    has the indices of damaged, near-grey, pale, tiny and CMYK images: the short side of a tiny one
    is below `min_side` pixels, the colorfulness of a pale one below `min_colorfulness`. Leaking
    `groups` come first; `pairs` are leaking pairs whose images belong to different groups.
    """

    parts: Splits
    images: ImageSet
    splits: np.ndarray
    features: np.ndarray
    broken: dict[int, ImageError]
    min_side: int
    min_colorfulness: float | None
    faults: dict[str, np.ndarray]
    groups: list[DuplicateGroup]
    pairs: list[DuplicateGroup]

    @property
    def leaks(self) -> list[DuplicateGroup]:
        """Duplicates in more than one split: groups, then pairs."""
        return [*(group for group in self.groups if group.leaks), *self.pairs]

    def split(self, index: int) -> str:
        """Return the name of an image's split."""
        return tuple(self.parts)[int(self.splits[index])]


def audit(splits: Splits, min_side: int, min_colorfulness: float | None = None) -> Audit:
    """Read every image once, compute its features, and compare them."""
    parts = {name: splits[name] for name in SPLIT_NAMES if name in splits}
    images = ConcatImages(list(parts.values()))
    with suppress(ImageError):
        if images.encoded(0) is None:
            raise UsageError("audit reads image files, and these images are not files")
    features = np.zeros(len(images), dtype=FEATURES)
    broken: dict[int, ImageError] = {}
    for index, result in enumerate(progress(_audited(images), len(images), "auditing")):
        if isinstance(result, ImageError):
            broken[index] = result
        else:
            features[index] = result
    indices = np.repeat(np.arange(len(parts), dtype=np.uint8), [*map(len, parts.values())])
    whole = features["bytes"] > 0
    faults = {
        "damaged": features["damaged"],
        "near_grey": whole & (features["chroma"] < NEAR_GREY),
        "pale": whole & (features["colorfulness"] < (min_colorfulness or 0.0)),
        "tiny": whole & (np.minimum(features["height"], features["width"]) < min_side),
        "cmyk": features["cmyk"],
    }
    undefined = faults["cmyk"] & ~features["has_profile"]
    faulty = undefined | np.any([faults[name] for name in faults if name != "cmyk"], axis=0)
    return Audit(
        parts,
        images,
        indices,
        features,
        broken,
        min_side,
        min_colorfulness,
        {name: np.flatnonzero(found) for name, found in faults.items()},
        *find_duplicates(features, indices, faulty),
    )


def exclusion_list(found: Audit) -> dict[int, str]:
    """Return the indices of the images to leave out, each with the reason.

    These are broken, tiny, near-grey and pale images, CMYK images without a profile, and all copies
    but the representative of each group.
    """
    features = found.features
    excluded = {index: f"broken: {error.reason}" for index, error in found.broken.items()}
    reasons = {
        "tiny": "tiny: {width} x {height}",
        "cmyk": "CMYK without a profile: its colors are undefined",
        "near_grey": "near-grey: 95 % of it below chroma {chroma:.1f}",
        "pale": "pale: colorfulness {colorfulness:.2f}",
    }
    for kind, reason in reasons.items():
        for index in found.faults[kind].tolist():
            if kind != "cmyk" or not features["has_profile"][index]:
                values = dict(zip(FEATURES.names or (), features[index].item(), strict=True))
                excluded.setdefault(index, reason.format(**values))
    for group in found.groups:
        other = group.representative
        for index in group.copies.tolist():
            same = features["digest"][index] == features["digest"][other]
            kind = "copy" if same else "near duplicate"
            shown = f"{found.images.name(other)} ({found.split(other)})"
            excluded.setdefault(index, f"{kind} of {shown}")
    return excluded


def as_text(found: Audit, excluded: Mapping[int, str]) -> str:
    """Return an exclusion list as text for a source's `exclude_list`, reasons as comments."""
    return "".join(
        name_with_reason(found.images.name(index), reason) for index, reason in excluded.items()
    )


def _audited(images: ImageSet) -> Iterator[np.ndarray | ImageError]:
    """Yield the features of each image or the error of a broken one, in order."""
    chunks: DataLoader[Any] = DataLoader(
        range(len(images)),  # type: ignore[arg-type]
        _CHUNK,
        num_workers=cores() if len(images) >= _WORKERS_FROM else 0,
        collate_fn=partial(_audit_chunk, images),
        worker_init_fn=quiet_decoders,
    )
    for chunk in chunks:
        yield from chunk


def _audit_chunk(images: ImageSet, indices: list[int]) -> list[np.ndarray | ImageError]:
    results: list[np.ndarray | ImageError] = []
    for index in indices:
        try:
            data = images.encoded(index)
            assert data is not None
            results.append(audit_image(data, Path(images.name(index))))
        except ImageError as error:
            results.append(error)
    return results
