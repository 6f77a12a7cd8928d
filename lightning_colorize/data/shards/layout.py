"""The binary format of a shard: a LitData chunk whose items are an image and its name.

    chunk  number of items N, N + 1 offsets from the start of the file, items     (uint32, uint32)
    item   length of the image, length of the name, image, name                  (uint32, uint32)

All integers are little-endian. An image is a JPEG file or a LitData tensor: data type, number of
axes, their lengths (uint32, big-endian), and the values. Shards are written by LitData's writer and
can be read by `litdata.StreamingDataset`. This module reads single items without LitData.
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
    """An open shard, for any number of threads and forked processes.

    Reads do not share a file position. The file is closed when the object is garbage-collected.
    """

    verified = False

    def __init__(self, path: Path) -> None:
        self.descriptor = os.open(path, os.O_RDONLY)
        weakref.finalize(self, os.close, self.descriptor)

    @cached_property
    def _offsets(self) -> np.ndarray:
        count = int(np.frombuffer(os.pread(self.descriptor, _UINT32, 0), "<u4")[0])
        table = os.pread(self.descriptor, _UINT32 * (count + 1), _UINT32)
        return np.frombuffer(table, "<u4").astype(np.int64)

    def image(self, index: int) -> bytes:
        """Return the encoded image of an item."""
        start, stop = self._offsets[index], self._offsets[index + 1]
        item = os.pread(self.descriptor, int(stop - start), int(start))
        length = int(np.frombuffer(item, "<u4", 1)[0])
        return item[2 * _UINT32 : 2 * _UINT32 + length]


def tensor_of(image: bytes) -> Tensor:
    """Return the values of a LitData tensor of uint8: (3, H, W)."""
    axes = int(np.frombuffer(image, ">u4", 1, offset=_UINT32)[0])
    shape = np.frombuffer(image, ">u4", axes, offset=2 * _UINT32).tolist()
    values = np.frombuffer(image, np.uint8, offset=(2 + axes) * _UINT32)
    return torch.from_numpy(values.reshape(shape).copy())  # torch needs writable memory
