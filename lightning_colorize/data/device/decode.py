"""JPEGs decoded on the device: nvJPEG on a GPU, libjpeg on a CPU, both by torchvision."""

import io
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import cache
from importlib.metadata import version
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from lightning_colorize.color import RawBatch
from lightning_colorize.common.errors import UsageError
from lightning_colorize.data.dataset import CorruptImage, Item, Resize, crop_square, resize
from lightning_colorize.data.decoding.files import ImageError, decode_image
from lightning_colorize.data.decoding.jpeg import decode_jpegs
from lightning_colorize.data.device.jpegs import JpegBatch
from lightning_colorize.data.device.prefetch import ahead

# Pixels that are decoded at once: of cameras' 12 megapixels, a batch would fill gigabytes.
_AT_ONCE = 2**26

Received = tuple[RawBatch, list[CorruptImage]]


@cache
def require_decoder(device: torch.device) -> None:
    """Refuse a device that cannot decode JPEGs.

    Raises:
        UsageError: If torchvision cannot do it there, or no longer has it.
    """
    image = io.BytesIO()
    Image.new("RGB", (16, 16)).save(image, "JPEG")
    try:
        decode_jpegs([torch.frombuffer(bytearray(image.getvalue()), dtype=torch.uint8)], device)
    except RuntimeError as error:
        why = str(error).strip().splitlines()[0]
        raise UsageError(
            f"--data.decode: device\naccepted: cpu: torchvision {version('torchvision')} cannot "
            f"decode JPEGs on {device} ({why})"
        ) from error


class Decoder:
    """Decodes what a `JpegDataset` ships and cuts the same squares as the workers would.

    Pixels differ from the workers' by some 8-bit steps: a GPU's decoder is another one, and decodes
    large images whole, where the CPU takes a half, a quarter or an eighth of their resolution.

    Args:
        device: Where.
        side: Height and width of the squares.
        replacement: In place of an image that turns out to be corrupt, gives the next one by its
            number and where it is cut, decoded; None leaves corrupt ones out.
        mode: How images are resized.
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
        """Yield the batches on the device, decoded while the one before is trained on."""
        return ahead(shipped, self, self.device, _hand_over)

    def __call__(self, batch: JpegBatch) -> Received:
        """Return a batch's images, and what could not be read."""
        corrupt = list(batch.corrupt)
        all_names = list(batch.names)
        squares: dict[int, Tensor] = {}
        others = sorted({*range(len(batch.names))} - {*batch.places})
        squares |= zip(others, batch.rgb.to(self.device), strict=True)
        files, names = batch.files(), [batch.names[place] for place in batch.places]
        for piece in _pieces(batch.pixels):
            decoded = self._decoded(files[piece], names[piece])
            whole = {}
            for number, image in enumerate(decoded, start=piece.start):
                if not isinstance(image, ImageError):
                    whole[number] = image
                    continue
                corrupt.append(CorruptImage(names[number], image))
                if self.replacement is not None:
                    item = self.replacement(batch.numbers[number] + 1, batch.positions[number])
                    corrupt += item.corrupt
                    if item.rgb is not None:
                        squares[batch.places[number]] = item.rgb.to(self.device)
                        all_names[batch.places[number]] = item.name
            for number, resized in self._resized(whole):
                square = crop_square(resized, self.side, batch.positions[number])
                squares[batch.places[number]] = square
        kept = sorted(squares)
        rgb = torch.stack([squares[place] for place in kept]) if kept else batch.rgb
        return RawBatch(rgb, [all_names[place] for place in kept]), corrupt

    def _decoded(self, files: list[Tensor], names: list[str]) -> list[Tensor | ImageError]:
        """Decode at once; where that fails, as it does for all if one is damaged, one by one."""
        try:
            return [*decode_jpegs(files, self.device)]
        except torch.OutOfMemoryError:
            raise
        except RuntimeError:
            return [self._alone(file, name) for file, name in zip(files, names, strict=True)]

    def _alone(self, file: Tensor, name: str) -> Tensor | ImageError:
        try:
            return decode_jpegs([file], self.device)[0]
        except RuntimeError:
            try:
                return decode_image(file.numpy().tobytes(), Path(name), self.side).to(self.device)
            except ImageError as error:
                return error

    def _resized(self, images: dict[int, Tensor]) -> Iterator[tuple[int, Tensor]]:
        """Bring the short sides to `side`, images of the same shape at once."""
        alike = defaultdict(list)
        for number, image in images.items():
            alike[image.shape].append(number)
        for numbers in alike.values():
            stacked = torch.stack([images[number] for number in numbers])
            yield from zip(numbers, resize(stacked, self.side, self.mode), strict=True)


def _pieces(pixels: list[int]) -> Iterator[slice]:
    """Yield slices of which each has no more pixels than are decoded at once, or one image."""
    start, taken = 0, 0
    for number, count in enumerate(pixels):
        if number > start and taken + count > _AT_ONCE:
            yield slice(start, number)
            start, taken = number, 0
        taken += count
    if pixels:
        yield slice(start, len(pixels))


def _hand_over(received: Received, stream: torch.cuda.Stream) -> None:
    received[0].rgb.record_stream(stream)
