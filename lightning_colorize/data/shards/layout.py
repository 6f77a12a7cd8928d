"""The bytes of a shard: LitData's chunk of items, each an image and a name.

    chunk  number of items N, N + 1 offsets from the start of the file, items     (uint32, uint32)
    item   length of the image, length of the name, image, name                  (uint32, uint32)

All little-endian. An image is a JPEG file, or LitData's tensor: type, number of axes, their lengths
(uint32, big-endian), and the values. LitData's own writer writes this, `litdata.StreamingDataset`
reads it; here single items are read without LitData, at random.
"""

import os
import weakref
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

_UINT32 = 4


class OpenShard:
    """A shard's file, for reading by any number of threads and forked processes.

    Reads name their place and share no position, so a descriptor may be inherited; it is closed
    when nothing refers to the object any more.

    Args:
        path: The file.

    Attributes:
        descriptor: Of the open file.
    """

    def __init__(self, path: Path) -> None:
        self.descriptor = os.open(path, os.O_RDONLY)
        weakref.finalize(self, os.close, self.descriptor)

    @cached_property
    def _offsets(self) -> np.ndarray:
        count = int(np.frombuffer(os.pread(self.descriptor, _UINT32, 0), "<u4")[0])
        table = os.pread(self.descriptor, _UINT32 * (count + 1), _UINT32)
        return np.frombuffer(table, "<u4").astype(np.int64)

    def image(self, index: int) -> bytes:
        """Return the image of an item."""
        start, stop = self._offsets[index], self._offsets[index + 1]
        item = os.pread(self.descriptor, int(stop - start), int(start))
        length = int(np.frombuffer(item, "<u4", 1)[0])
        return item[2 * _UINT32 : 2 * _UINT32 + length]


def tensor_of(image: bytes) -> Tensor:
    """Return the values of LitData's tensor of uint8: (3, H, W)."""
    axes = int(np.frombuffer(image, ">u4", 1, offset=_UINT32)[0])
    shape = np.frombuffer(image, ">u4", axes, offset=2 * _UINT32).tolist()
    values = np.frombuffer(image, np.uint8, offset=(2 + axes) * _UINT32)
    # A copy, because what torch holds must be writable.
    return torch.from_numpy(values.reshape(shape).copy())
