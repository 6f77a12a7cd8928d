"""The systems of a comparison: networks, and folders of images colorized elsewhere."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_colorize.color import ColorBatch
from lightning_colorize.common.errors import UsageError
from lightning_colorize.data.decoding.files import ImageError
from lightning_colorize.data.sources import SourceError
from lightning_colorize.data.sources.listing import list_images
from lightning_colorize.evaluation.given import GivenImages
from lightning_colorize.inference import ColorizationModel, load_model
from lightning_colorize.runs.folder import CHECKPOINTS, CONFIG, is_run, run_of
from lightning_colorize.tasks.prediction import colorize_image

RESERVED = ("grey", "mean", "lut", "truth", "broken")
"""Names that the pages use for their own rows, columns and study images."""


class Colored(NamedTuple):
    """A batch as a system colorizes it.

    Attributes:
        L: (B, 1, H, W) in [0, 100]: the truth's for a network, their own for images colorized
            elsewhere.
        ab: (B, 2, H, W) in LAB units.
    """

    L: Tensor
    ab: Tensor


class System(ABC):
    """One column of a comparison.

    Attributes:
        name: Name on the page.
        place: The path as given.
        kind: What it is, in a few words.
        run: The run folder around it, if any.
    """

    name: str
    place: Path
    kind: str
    run: Path | None = None

    def load(self, names: Sequence[str], side: int) -> list[ImageError]:
        """Read the files of a batch; return the errors."""
        return []

    @abstractmethod
    def color(self, batch: ColorBatch) -> Colored:
        """Colorize a batch of squares."""

    @abstractmethod
    def color_one(self, name: str, rgb: Tensor, size: int) -> Tensor:
        """Color one whole image for display.

        Returns:
            (3, H, W), uint8.
        """


class Network(System):
    """A checkpoint of ours."""

    def __init__(self, name: str, place: Path, loaded: ColorizationModel) -> None:
        self.name = name
        self.place = place
        self.loaded = loaded
        self.kind = loaded.path.name
        self.run = run_of(loaded.path)

    def color(self, batch: ColorBatch) -> Colored:
        """Return the prediction on the true lightness, as `evaluate` measures it."""
        return Colored(batch.L, self.loaded.task(batch.L))

    def color_one(self, name: str, rgb: Tensor, size: int) -> Tensor:
        """Return the image as `colorize` writes it."""
        return colorize_image(self.loaded.task, rgb, size)


class Given(System):
    """A folder of images colorized elsewhere."""

    kind = "images"

    def __init__(self, name: str, place: Path, images: GivenImages) -> None:
        self.name = name
        self.place = place
        self.images = images

    def load(self, names: Sequence[str], side: int) -> list[ImageError]:
        """Read the images of a batch."""
        return self.images.load(names, side)

    def color(self, batch: ColorBatch) -> Colored:
        """Return the images with their own lightness."""
        return Colored(*self.images.squares(batch.names, batch.L.device))

    def color_one(self, name: str, rgb: Tensor, size: int) -> Tensor:
        """Return the image, at the truth's size."""
        height, width = rgb.shape[-2:]
        return self.images.whole(name, height, width)


def open_systems(
    words: Sequence[str], data: Path, allow: Sequence[str], device: torch.device
) -> list[System]:
    """Open the systems of a command line.

    Args:
        words: `NAME=RUN_OR_CKPT_OR_FOLDER` each.
        data: The folder of the true images.
        allow: Classes, modules or packages that checkpoints may import besides ours.
        device: Device of the networks.

    Raises:
        UsageError: If a name is repeated or reserved, or a path does not exist.
    """
    named = [split_word(word) for word in words]
    for name, place in named:
        if [other for other, _ in named].count(name) > 1:
            raise UsageError(f"two systems are named {name}; give each its own NAME=")
        if name in RESERVED:
            raise UsageError(f"{name} is a reserved name of the page; choose another NAME")
        if not place.exists():
            raise UsageError(
                f"{place} does not exist; give NAME= and a run folder, a checkpoint, "
                "or a folder of images colorized elsewhere"
            )
    return [_open(name, place, data, allow, device) for name, place in named]


def split_word(word: str) -> tuple[str, Path]:
    """Return name and path of `NAME=PATH`; without NAME= the path's own name."""
    name, sign, rest = word.partition("=")
    if sign and name and not Path(word).exists():
        return name, Path(rest).expanduser()
    place = Path(word).expanduser()
    run = run_of(place)
    if run is not None:
        return run.resolve().name, place
    return place.resolve().name if place.is_dir() else place.stem, place


def _open(name: str, place: Path, data: Path, allow: Sequence[str], device: torch.device) -> System:
    if place.is_file() or is_run(place):
        return Network(name, place, load_model(place, allow, device))
    try:
        files = list_images(place)
    except SourceError:
        raise UsageError(
            f"{place} is neither a run folder (with {CONFIG} or {CHECKPOINTS}/) nor an image folder"
        ) from None
    return Given(name, place, GivenImages(name, place, files, data))
