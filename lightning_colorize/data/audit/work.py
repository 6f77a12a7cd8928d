"""Looks at every image of a set once, in several processes."""

from collections.abc import Iterator

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from lightning_colorize.color import to_lab
from lightning_colorize.common.errors import UsageError
from lightning_colorize.common.processes import cores
from lightning_colorize.common.progress import progress
from lightning_colorize.data.audit.inspect_image import LOOK, look_at
from lightning_colorize.data.audit.result import Audit
from lightning_colorize.data.decoding.files import ImageError
from lightning_colorize.data.images import ConcatImages, ImageSet
from lightning_colorize.data.sources import Splits
from lightning_colorize.data.splits import SPLIT_NAMES

_CHUNK = 32
# Fewer are looked at before worker processes would have started.
_WORKERS_FROM = 256

_Seen = tuple[np.ndarray, ImageError | None]


def audit(splits: Splits, min_side: int) -> Audit:
    """Look at every image once.

    What is kept of an image is a record of a hundred bytes, and its name.

    Args:
        splits: As a source gives them: leaks are judged by the splits that training has.
        min_side: Pixels of the short side below which an image is tiny.

    Raises:
        UsageError: If the images are not files.
    """
    parts = {name: splits[name] for name in SPLIT_NAMES if name in splits}
    images = ConcatImages(list(parts.values()))
    if not _has_bytes(images):
        raise UsageError("these images are no files, which is what audit looks at")
    looks = np.zeros(len(images), dtype=LOOK)
    broken: dict[int, ImageError] = {}
    for index, (look, error) in enumerate(progress(_look(images), len(images), "auditing")):
        looks[index] = look
        if error is not None:
            broken[index] = error
    numbers = np.arange(len(parts), dtype=np.uint8)
    numbers = np.repeat(numbers, [len(part) for part in parts.values()])
    return Audit(parts, images, numbers, looks, broken, min_side)


def _has_bytes(images: ImageSet) -> bool:
    try:
        return images.encoded(0) is not None
    except ImageError:
        return True


class _Looks(Dataset[_Seen]):
    def __init__(self, images: ImageSet) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> _Seen:
        return look_at(self.images, index)


def _look(images: ImageSet) -> Iterator[_Seen]:
    """Yield what is seen of each image, in their order."""
    workers = cores() if len(images) >= _WORKERS_FROM else 0
    if workers:
        to_lab(torch.zeros(1, 3, 1, 1))  # imports kornia: once here, not in each forked process
    for chunk in DataLoader(_Looks(images), _CHUNK, num_workers=workers, collate_fn=_stack):
        yield from zip(*chunk, strict=True)


def _stack(seen: list[_Seen]) -> tuple[np.ndarray, list[ImageError | None]]:
    looks, errors = zip(*seen, strict=True)
    return np.stack(looks), list(errors)
