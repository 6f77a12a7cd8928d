"""Images colorized elsewhere, matched to the true images by name and resized to them."""

import sys
import tempfile
import unicodedata
from collections.abc import Iterable, Sequence
from os.path import splitext
from pathlib import Path

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as TF

from lightning_colorize.color import ColorBatch, to_grey, to_lab, to_lightness
from lightning_colorize.common.errors import UsageError, WorkError
from lightning_colorize.data.dataset import crop_square, limit_length, resize_short_side
from lightning_colorize.data.decoding.files import ImageError, read_bytes, read_header, read_image
from lightning_colorize.data.splits import split_of
from lightning_colorize.evaluation.protocol import Protocol
from lightning_colorize.evaluation.systems import System
from lightning_colorize.tasks.outside import color_folder, is_same_shape, write_png


class Given(System):
    """A folder of images colorized elsewhere.

    A true image `cats/a.jpg` matches its own name, `cats/a.jpg.*` (names that clash in `colorize`)
    and `cats/a.*`, in this order; `test/cats/a.jpg` of a folder with splits also without `test/`.
    Names are compared in Unicode normal form C.
    """

    kind = "images"

    def __init__(self, name: str, path: Path, files: Sequence[str], data: Path) -> None:
        self.name = name
        self.path = path
        self.data = data
        self._loaded: dict[str, Tensor] = {}
        self._exact: dict[str, list[str]] = {}
        self._stems: dict[str, list[str]] = {}
        for file in files:
            self._exact.setdefault(_composed(file), []).append(file)
            self._stems.setdefault(splitext(_composed(file))[0], []).append(file)

    def find(self, name: str) -> str | None:
        """Return the file that matches a true image, relative to the folder; None if there is none.

        Raises:
            UsageError: If several match.
        """
        name = _composed(name)
        first, _, rest = name.partition("/")
        names = [name, rest] if rest and split_of(first) else [name]
        for key in names:
            stem, _ = splitext(key)
            found = self._exact.get(key) or self._stems.get(key) or self._stems.get(stem, [])
            if len(found) > 1:
                raise UsageError(
                    f"{self.name} has {found[0]} and {found[1]} for {name}; remove one of them"
                )
            if found:
                return found[0]
        return None

    def square(self, name: str, side: int) -> Tensor:
        """Return the compared square of an image.

        An image of another aspect ratio than the truth, such as a network's square, is stretched
        to it; then it is resized and cropped exactly as the truth.

        Args:
            name: Name of the true image.
            side: Height and width in pixels.

        Returns:
            (3, side, side), uint8.

        Raises:
            ImageError: If the file cannot be read.
        """
        rgb = self._with_true_shape(name, self._read(name, side))
        return crop_square(resize_short_side(limit_length(rgb), side), side)

    def _with_true_shape(self, name: str, rgb: Tensor) -> Tensor:
        truth = self.data / name
        height, width, *_ = read_header(read_bytes(truth), truth)
        if is_same_shape(width / height, rgb.shape[-1] / rgb.shape[-2]):
            return rgb
        stretched: Tensor = TF.resize(rgb, [height, width], antialias=True)
        return stretched

    def load(self, names: Sequence[str], side: int) -> list[ImageError]:
        """Read the squares of a batch; return the errors."""
        broken = []
        self._loaded = {}
        for name in names:
            try:
                self._loaded[name] = self.square(name, side)
            except ImageError as error:
                broken.append(ImageError(Path(name), f"{self.name}: {error.reason}"))
        return broken

    def color(self, batch: ColorBatch) -> ColorBatch:
        """Return the loaded squares with their own lightness."""
        rgb = torch.stack([self._loaded[name] for name in batch.names])
        return ColorBatch(*to_lab(rgb.to(batch.L.device)), batch.names)

    def color_one(self, name: str, rgb: Tensor, size: int) -> Tensor:
        """Return the whole image at the truth's size, stretched where its shape differs."""
        height, width = rgb.shape[-2:]
        resized: Tensor = TF.resize(
            self._read(name, min(height, width)), [height, width], antialias=True
        )
        return resized

    def color_prepared(self, name: str, rgb: Tensor, size: int, protocol: Protocol) -> Tensor:
        """Return the image as it is if it has the truth's size, else prepared as the truth.

        Raises:
            ImageError: If the file cannot be read.
            UsageError: If it is not known which part of the image was cropped.
        """
        given = self._read(name)
        if given.shape != rgb.shape:
            whole = self._with_true_shape(name, given)
            if protocol.shape == "crop" and whole is not given:
                raise UsageError(
                    f"{self.path / str(self.find(name))} has neither the size of protocol "
                    f"{protocol.name} nor the shape of the whole image"
                )
            given = protocol.prepare(whole)
        # At its own size, the truth's is the one to compare at.
        resized: Tensor = TF.resize(given, list(rgb.shape[-2:]), antialias=True)
        return resized

    def _read(self, name: str, min_side: int | None = None) -> Tensor:
        file = self.find(name)
        assert file is not None, "only images that all systems have are compared"
        return read_image(self.path / file, min_side)


class Command(Given):
    """A command of another program, which colors a folder of images at once.

    Args:
        name: Name on the page.
        path: The file that describes it.
        command: As of `tasks.outside.color_folder`.
        data: The folder of the true images.
    """

    kind = "command"

    def __init__(self, name: str, path: Path, command: str, data: Path) -> None:
        super().__init__(name, path, [], data)
        self.command = command
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._results: dict[str, str] = {}

    def find(self, name: str) -> str | None:
        """Return the result of an image; before `color_all`, each image is assumed to have one."""
        return name if self._folder is None else self._results.get(name)

    def color_prepared(self, name: str, rgb: Tensor, size: int, protocol: Protocol) -> Tensor:
        """Return what the command made of the prepared image, at its size.

        Raises:
            ImageError: If the file cannot be read.
        """
        return self.color_one(name, rgb, size)

    def color_all(self, images: Iterable[tuple[str, Tensor]]) -> None:
        """Write the images in grey, and run the command once over all of them.

        Raises:
            WorkError: If it fails, or a result is missing or has another shape.
        """
        self._folder = tempfile.TemporaryDirectory()
        given, colored = Path(self._folder.name, "input"), Path(self._folder.name, "output")
        given.mkdir()
        colored.mkdir()
        names: list[str] = []
        for name, rgb in images:
            grey = to_grey(to_lightness(rgb[None]))[0]
            # A number, as a name may be too long, or another one to the command.
            write_png(given / f"{len(names)}.png", (grey * 255).round().byte())
            names.append(name)
        print(f"{self.name}: its command colors {len(names):,} images", file=sys.stderr, flush=True)
        results = color_folder(self.command, given, colored)
        self._results = {names[int(number)]: str(file) for number, file in results.items()}
        if missing := [name for name in names if name not in self._results]:
            raise WorkError(
                f"{self.name} wrote no image for {missing[0]}; {len(missing):,} of "
                f"{len(names):,} are missing"
            )


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)
