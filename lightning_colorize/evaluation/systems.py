"""What is compared: networks, and folders of images that something else has coloured."""

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
"""Names of the pages' own rows, columns and study images."""


class Colored(NamedTuple):
    """A batch as a system colours it.

    Attributes:
        L: (B, 1, H, W) in [0, 100]. A network keeps the truth's; what is coloured elsewhere has
            its own.
        ab: (B, 2, H, W) in LAB units.
    """

    L: Tensor
    ab: Tensor


class System(ABC):
    """One column of a comparison.

    Attributes:
        name: What it is called on the page.
        place: Where it was found, as it was given.
        run: The run folder that it belongs to, if any.
    """

    name: str
    place: Path
    run: Path | None = None

    @property
    @abstractmethod
    def kind(self) -> str:
        """What it is, in a few words."""

    def load(self, names: Sequence[str], side: int) -> list[ImageError]:
        """Read what a batch needs beside the truth; returns what cannot be read."""
        return []

    @abstractmethod
    def color(self, batch: ColorBatch) -> Colored:
        """Colour a batch of squares."""

    @abstractmethod
    def color_one(self, name: str, rgb: Tensor, size: int) -> Tensor:
        """Colour one square as people are to see it.

        Args:
            name: The image's.
            rgb: The truth, (3, S, S), uint8.
            size: What a network sees, in pixels.

        Returns:
            (3, S, S), uint8.
        """


class Network(System):
    """A checkpoint of ours.

    Args:
        name: What it is called on the page.
        place: Where it was found, as it was given.
        loaded: The network.
    """

    def __init__(self, name: str, place: Path, loaded: ColorizationModel) -> None:
        self.name = name
        self.place = place
        self.loaded = loaded
        self.run = run_of(loaded.path)

    @property
    def kind(self) -> str:
        """Its checkpoint's file name."""
        return self.loaded.path.name

    def color(self, batch: ColorBatch) -> Colored:
        """Return what `evaluate` measures: the prediction as it is, on the true lightness."""
        return Colored(batch.L, self.loaded.task(batch.L))

    def color_one(self, name: str, rgb: Tensor, size: int) -> Tensor:
        """Return what `colorize` writes."""
        return colorize_image(self.loaded.task, rgb, size)


class Given(System):
    """A folder of images coloured elsewhere.

    Args:
        name: What it is called on the page.
        place: Where it was found, as it was given.
        images: The images.
    """

    def __init__(self, name: str, place: Path, images: GivenImages) -> None:
        self.name = name
        self.place = place
        self.images = images

    @property
    def kind(self) -> str:
        """That it is no checkpoint."""
        return "images"

    def load(self, names: Sequence[str], side: int) -> list[ImageError]:
        """Read the images of a batch."""
        return self.images.load(names, side)

    def color(self, batch: ColorBatch) -> Colored:
        """Return the images as they are, their own lightness included."""
        return Colored(*self.images.squares(batch.names, batch.L.device))

    def color_one(self, name: str, rgb: Tensor, size: int) -> Tensor:
        """Return the image, at the truth's size."""
        return self.images.square(name, rgb.shape[-1])


def open_systems(
    words: Sequence[str], data: Path, allow: Sequence[str], device: torch.device
) -> list[System]:
    """Open what `NAME=RUN_OR_CKPT_OR_FOLDER` says, each.

    Args:
        words: As given.
        data: The folder of the true images.
        allow: Classes, modules or packages that checkpoints may name besides ours.
        device: Where networks are to work.

    Raises:
        UsageError: If a name is given twice or is one of ours, or there is nothing at a place.
    """
    named = [split_word(word) for word in words]
    for name, place in named:
        if [other for other, _ in named].count(name) > 1:
            raise UsageError(f"two systems are called {name}; give each a NAME= of its own")
        if name in RESERVED:
            raise UsageError(
                f"{name} is what the page calls something of its own; choose another NAME"
            )
        if not place.exists():
            raise UsageError(
                f"{place} does not exist; give NAME= and a run folder, a checkpoint, "
                "or a folder of images coloured elsewhere"
            )
    return [_open(name, place, data, allow, device) for name, place in named]


def split_word(word: str) -> tuple[str, Path]:
    """Return name and place of `NAME=PLACE`; without NAME= the place's own name."""
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
            f"{place} is neither a run folder (with {CONFIG} or {CHECKPOINTS}/) nor does it hold "
            "images"
        ) from None
    return Given(name, place, GivenImages(name, place, files, data))
