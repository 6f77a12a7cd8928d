"""Looks at every picture of a set once, in several processes."""

from collections.abc import Iterator

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from lightning_colorize.color import to_lab
from lightning_colorize.data.audit.look import LOOK, look_at
from lightning_colorize.data.audit.result import Audit
from lightning_colorize.data.files import PictureError
from lightning_colorize.data.pictures import ConcatPictures, PictureSet
from lightning_colorize.data.sources import Splits
from lightning_colorize.data.splits import SPLIT_NAMES
from lightning_colorize.errors import UsageError
from lightning_colorize.processes import cores
from lightning_colorize.progress import progress

_CHUNK = 32
# Fewer are looked at before worker processes would have started.
_WORKERS_FROM = 256

_Seen = tuple[np.ndarray, PictureError | None]


def audit(splits: Splits, min_side: int) -> Audit:
    """Look at every picture once.

    What is kept of a picture is a record of a hundred bytes, and its name.

    Args:
        splits: As a source gives them: leaks are judged by the splits that training has.
        min_side: Pixels of the short side below which a picture is tiny.

    Raises:
        UsageError: If the pictures are not files.
    """
    parts = {name: splits[name] for name in SPLIT_NAMES if name in splits}
    pictures = ConcatPictures(list(parts.values()))
    if not _has_bytes(pictures):
        raise UsageError("these pictures are no files, which is what audit looks at")
    looks = np.zeros(len(pictures), dtype=LOOK)
    broken: dict[int, PictureError] = {}
    for index, (look, error) in enumerate(progress(_look(pictures), len(pictures), "auditing")):
        looks[index] = look
        if error is not None:
            broken[index] = error
    numbers = np.arange(len(parts), dtype=np.uint8)
    numbers = np.repeat(numbers, [len(part) for part in parts.values()])
    return Audit(parts, pictures, numbers, looks, broken, min_side)


def _has_bytes(pictures: PictureSet) -> bool:
    try:
        return pictures.encoded(0) is not None
    except PictureError:
        return True


class _Looks(Dataset[_Seen]):
    def __init__(self, pictures: PictureSet) -> None:
        self.pictures = pictures

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> _Seen:
        return look_at(self.pictures, index)


def _look(pictures: PictureSet) -> Iterator[_Seen]:
    """Yield what is seen of each picture, in their order."""
    workers = cores() if len(pictures) >= _WORKERS_FROM else 0
    if workers:
        to_lab(torch.zeros(1, 3, 1, 1))  # imports kornia: once here, not in each forked process
    for chunk in DataLoader(_Looks(pictures), _CHUNK, num_workers=workers, collate_fn=_stack):
        yield from zip(*chunk, strict=True)


def _stack(seen: list[_Seen]) -> tuple[np.ndarray, list[PictureError | None]]:
    looks, errors = zip(*seen, strict=True)
    return np.stack(looks), list(errors)
