"""JPEG decoding on the device with torchvision: nvJPEG on a GPU, libjpeg on a CPU."""

import io
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from functools import cache
from importlib.metadata import version
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from lightning_colorize.color import RawBatch
from lightning_colorize.common.errors import UsageError, first_line
from lightning_colorize.data.dataset import CorruptImage, Item, Jpeg, Resize, crop_square, resize
from lightning_colorize.data.decoding.files import ImageError, decode_image
from lightning_colorize.data.decoding.jpeg import decode_jpegs
from lightning_colorize.data.device.jpegs import JpegBatch

# Pixels decoded at once. A batch of 12 megapixel images would fill gigabytes.
_AT_ONCE = 2**26

Received = tuple[RawBatch, list[CorruptImage]]


@cache
def require_decoder(device: torch.device) -> None:
    """Raise a UsageError if torchvision cannot decode JPEGs on a device."""
    image = io.BytesIO()
    Image.new("RGB", (16, 16)).save(image, "JPEG")
    try:
        decode_jpegs([torch.frombuffer(bytearray(image.getvalue()), dtype=torch.uint8)], device)
    except RuntimeError as error:
        raise UsageError(
            f"--data.decode: device\naccepted: cpu: torchvision {version('torchvision')} cannot "
            f"decode JPEGs on {device} ({first_line(error)})"
        ) from error


class Decoder:
    """Decodes the batches of a `JpegDataset` and crops the same squares as the workers would.

    Pixels differ from the workers' by some 8-bit steps. A GPU has another decoder, and it decodes
    large images at full resolution, of which the CPU takes a half, a quarter or an eighth.

    Args:
        device: The device.
        side: Height and width of the squares.
        replacement: Returns the decoded replacement of a corrupt image, given an index and a crop
            position. None: corrupt images are left out.
        mode: How images become squares.
    """

    def __init__(
        self,
        device: torch.device,
        side: int,
        replacement: Callable[[int, float], Item] | None = None,
        mode: Resize = "crop",
    ) -> None:
        self.mode = mode
        self.device = device
        self.side = side
        self.replacement = replacement

    def batches(self, shipped: Iterator[JpegBatch]) -> Iterator[Received]:
        """Decode in a thread and prefetch one batch; on a GPU in a stream of its own."""
        on_gpu = self.device.type == "cuda"
        stream = torch.cuda.Stream(self.device) if on_gpu else None  # type: ignore[no-untyped-call]

        def step() -> Received | None:
            with nullcontext() if stream is None else torch.cuda.stream(stream):
                batch = next(shipped, None)
                return None if batch is None else self(batch)

        with ThreadPoolExecutor(1, "decode") as thread:
            pending = thread.submit(step)
            while (decoded := pending.result()) is not None:
                if stream is not None:
                    user = torch.cuda.current_stream(self.device)
                    user.wait_stream(stream)
                    decoded[0].rgb.record_stream(user)
                pending = thread.submit(step)
                yield decoded

    def __call__(self, batch: JpegBatch) -> Received:
        """Return the images of a batch, and those that could not be read."""
        corrupt, names = list(batch.corrupt), list(batch.names)
        others = [row for row in range(len(names)) if row not in batch.jpegs]
        squares = dict(zip(others, batch.rgb.to(self.device), strict=True))
        files = dict(zip(batch.jpegs, batch.files(), strict=True))
        for rows in _pieces(batch.jpegs):
            decoded = self._decoded(
                [files[row] for row in rows], [batch.names[row] for row in rows]
            )
            whole = {}
            for row, image in zip(rows, decoded, strict=True):
                if not isinstance(image, ImageError):
                    whole[row] = image
                    continue
                corrupt.append(CorruptImage(batch.names[row], image))
                if self.replacement is not None:
                    jpeg = batch.jpegs[row]
                    item = self.replacement(jpeg.image + 1, jpeg.position)
                    corrupt += item.corrupt
                    if item.rgb is not None:
                        squares[row], names[row] = item.rgb.to(self.device), item.name
            for row, resized in self._resized(whole):
                squares[row] = crop_square(resized, self.side, batch.jpegs[row].position)
        left = sorted(squares)
        rgb = torch.stack([squares[row] for row in left]) if left else batch.rgb
        return RawBatch(rgb, [names[row] for row in left]), corrupt

    def _decoded(self, files: list[Tensor], names: list[str]) -> list[Tensor | ImageError]:
        """Decode together, or one by one if that fails: one corrupt file fails them all."""
        try:
            return [*decode_jpegs(files, self.device)]
        except torch.OutOfMemoryError:
            raise
        except RuntimeError:
            return [self._decode_one(file, name) for file, name in zip(files, names, strict=True)]

    def _decode_one(self, file: Tensor, name: str) -> Tensor | ImageError:
        try:
            return decode_jpegs([file], self.device)[0]
        except RuntimeError:
            try:
                return decode_image(file.numpy().tobytes(), Path(name), self.side).to(self.device)
            except ImageError as error:
                return error

    def _resized(self, images: dict[int, Tensor]) -> Iterator[tuple[int, Tensor]]:
        """Resize the images, those of the same shape together."""
        by_shape = defaultdict(list)
        for number, image in images.items():
            by_shape[image.shape].append(number)
        for numbers in by_shape.values():
            stacked = torch.stack([images[number] for number in numbers])
            yield from zip(numbers, resize(stacked, self.side, self.mode), strict=True)


def _pieces(jpegs: dict[int, Jpeg]) -> Iterator[list[int]]:
    """Yield the rows of at most `_AT_ONCE` pixels, or of one image."""
    rows: list[int] = []
    taken = 0
    for row, jpeg in jpegs.items():
        if rows and taken + jpeg.pixels > _AT_ONCE:
            yield rows
            rows, taken = [], 0
        rows.append(row)
        taken += jpeg.pixels
    if rows:
        yield rows
