"""Random access to the images in tars, and prefetching of the next tars."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lightning_colorize.common.errors import first_line
from lightning_colorize.data.decoding.files import ImageError, decode_image
from lightning_colorize.data.image_set import ImageSet, NameList, Notes
from lightning_colorize.data.order import ShardOrder
from lightning_colorize.data.shards.files import CheckedTars

_NPY = b"\x93NUMPY"  # the start of a packed array, (3, H, W), uint8


class TarImages(ImageSet):
    """The images of a split in tars.

    Args:
        tars: The tars.
        names: Name of each image, in the order of the tars.
        places: Tar, offset and size in bytes of each image's file, (N, 3), int64.
        notes: Labels and texts.
        window: Number of tars whose images are shuffled together; as many are prefetched.
        side: Short side in pixels to which larger images were reduced; None for originals.
    """

    def __init__(
        self,
        tars: CheckedTars,
        names: Iterable[str],
        places: np.ndarray,
        notes: Notes,
        window: int,
        side: int | None = None,
    ) -> None:
        self.tars = tars
        self.names = NameList(names)
        self.places = places
        self.notes = notes
        self.window = window
        self.side = side
        self.order = ShardOrder(np.bincount(places[:, 0], minlength=len(tars.tars)), window)

    def read(self, index: int, min_side: int | None = None) -> Tensor:
        """Return the image: (3, H, W), uint8, sRGB."""
        data = self.encoded(index)
        if data.startswith(_NPY):
            try:
                return torch.from_numpy(np.load(BytesIO(data)))
            except ValueError as error:
                raise ImageError(Path(self.names[index]), first_line(error)) from error
        return decode_image(data, Path(self.names[index]), min_side)

    def encoded(self, index: int) -> bytes:
        """Return the encoded file."""
        tar, offset, size = self.places[index].tolist()
        return self.tars.read(tar, offset, size, self.names[index])

    @contextmanager
    def expecting(self, coming: Callable[[], np.ndarray]) -> Iterator[Callable[[int], None]]:
        """Open the tars of the next images in a thread, `window` tars in advance."""
        used, needed_at = np.unique(self.places[coming(), 0], return_index=True)
        order = np.argsort(needed_at)
        used, needed_at = used[order], needed_at[order]
        thread = ThreadPoolExecutor(1, "tar prefetch")
        asked = 0

        def advance(images: int) -> None:
            nonlocal asked
            needed = int(np.searchsorted(needed_at, images, side="right")) + self.window
            for tar in used[asked:needed].tolist():
                # An error is raised again when an image of the tar is read.
                thread.submit(lambda tar: self.tars.open(tar).close(), tar)
            asked = max(asked, needed)

        advance(0)
        try:
            yield advance
        finally:
            thread.shutdown(wait=False, cancel_futures=True)
