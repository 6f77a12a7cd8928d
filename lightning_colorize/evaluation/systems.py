"""The systems of a comparison: named models, and how they colorize the measured images."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_colorize.color import NO_CONDITION, ColorBatch, to_lab, to_lightness, to_rgb, to_unit
from lightning_colorize.common.errors import UsageError
from lightning_colorize.data.dataset import crop_square, limit_length, resize_short_side
from lightning_colorize.data.decoding.files import ImageError
from lightning_colorize.inference import TrainingData, training_data
from lightning_colorize.metrics.image_pair import ImagePair
from lightning_colorize.metrics.samples import difference_map
from lightning_colorize.models.base import Model, View
from lightning_colorize.models.settings import Settings
from lightning_colorize.models.whole import colorize_image
from lightning_colorize.runs.folder import run_of


class Painted(NamedTuple):
    """The colorings of a batch by one row of a table."""

    L: Tensor  # (B, 1, H, W) in [0, 100]: of the input, or the row's own.
    ab: Tensor  # (n, B, 2, H, W) in LAB units
    more: Tensor | None = None  # (metrics, B): values of `Measured.more`.


Painter = Callable[[ColorBatch], Iterable[Painted]]
"""Colorizes a batch with one row of a table after the other."""


@dataclass
class System:
    """One column of a comparison."""

    name: str
    path: Path  # The path as given.
    model: Model
    run: Path | None = None  # The run folder around it, if any.
    trained: TrainingData | None = None  # Training data of the run; None if unknown.
    problem: str | None = None  # Why `trained` is unknown, if the configuration cannot be read.
    _images: dict[str, Tensor] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        file = self.model.path
        if file is None or not file.is_file():
            return
        self.run = run_of(file)
        try:
            self.trained = training_data(file)
        except UsageError as error:
            self.problem = f"{error}: the training data and settings of {self.name} are unknown"

    @property
    def kind(self) -> str:
        """The kind of the model, or the name of its file."""
        return self.model.kind

    def load(self, batch: ColorBatch, view: View) -> list[ImageError]:
        """Return the errors of images of a batch, prepared with `view`, that cannot be read.

        If the model returns images, this keeps those of the batch for `paint`.
        """
        self._images, errors = {}, list[ImageError]()
        if self.model.keeps_lightness:
            return errors
        truths = (to_rgb(batch.L, batch.ab) * 255).round().byte().cpu()
        for name, truth in zip(batch.names, truths, strict=True):
            try:
                self._images[name] = to_unit(self.model.paint(name, truth, view))
            except FloatingPointError:
                self._images[name] = torch.full(truth.shape, torch.nan)
            except ImageError as error:
                errors.append(ImageError(Path(name), f"{self.name}: {error.reason}"))
        return errors

    def paint(self, batch: ColorBatch, samples: int = 1, seed: int = 0) -> Painted:
        """Colorize a batch, after `load`; a model that samples does so `samples` times."""
        model = self.model
        if model.keeps_lightness:
            L, n = batch.L.to(model.device), samples if model.draws else 1
            ab = model.color(L, n=n, generators=model.generators(L, seed))
            return Painted(batch.L, ab.to(batch.L.device))
        rgb = torch.stack([self._images[name] for name in batch.names])
        L, ab = to_lab(rgb.to(batch.L.device))
        return Painted(L, ab.unsqueeze(0))

    def color_whole(
        self, name: str, rgb: Tensor, size: int, view: View | None = None, seed: int = 0
    ) -> Tensor:
        """Colorize one whole image, (3, H, W), uint8; the result has the same shape and dtype.

        `size` is the short side of a network's input in pixels. `view` is how `rgb` was prepared;
        by default it was resized. `seed` is the seed of a model that samples.

        Raises:
            FloatingPointError: If the predicted colors are not finite.
            ImageError: If a file of the model cannot be read.
        """
        if self.model.keeps_lightness:
            return colorize_image(self.model, rgb, size, seed=seed)
        return self.model.paint(name, rgb, view or View(side=min(rgb.shape[-2:])))

    def difference_map(self, rgb: Tensor, samples: int, seed: int) -> Tensor:
        """Return the CIEDE2000 between samples of an image, (3, H, W), uint8: (1, H, W)."""
        L = to_lightness(rgb[None].to(self.model.device))
        ab = self.model.color(L, n=samples, generators=self.model.generators(L, seed))
        return difference_map([ImagePair(L, each, each) for each in ab])[0]


def square_view(side: int) -> View:
    """Return the view of `fit` and `evaluate`: a center crop, as a square with this side."""
    return View(lambda rgb: crop_square(resize_short_side(limit_length(rgb), side), side), side)


def paint_settings(
    model: Model,
    settings: Sequence[tuple[Settings, int | None]],
    plain: Iterable[Model],
    samples: int = 1,
    seed: int = 0,
) -> Painter:
    """Return a painter for a model with many settings and then the baselines.

    Each setting has the input size of the network, or None for the size of the batch; a prediction
    of another size is resized. Consecutive settings of one size and `flip` share a prediction.
    `samples` are the colorings per image of a model that samples.
    """
    count = samples if model.draws else 1

    def paint(batch: ColorBatch) -> Iterator[Painted]:
        for (size, flip), group in groupby(settings, lambda pair: (pair[1], pair[0].flip)):
            L = _resized(batch.L, size)
            views = model.views(L, NO_CONDITION, flip)
            for setting, _ in group:
                ab = model.combine(views, setting, count, model.generators(L, seed))
                whole = _resized(ab.flatten(0, 1), batch.L.shape[-1])
                yield Painted(batch.L, whole.view(*ab.shape[:2], *whole.shape[1:]))
        yield from (Painted(batch.L, each.color(batch.L)) for each in plain)

    return paint


def readable(
    systems: Sequence[System], batches: Iterator[ColorBatch], view: View, broken: list[ImageError]
) -> Iterator[ColorBatch]:
    """Yield batches without the images that a system cannot read, and record their errors."""
    for batch in batches:
        loaded = (error for system in systems for error in system.load(batch, view))
        errors = {str(error.path): error for error in loaded}
        broken += errors.values()
        keep = [i for i, name in enumerate(batch.names) if name not in errors]
        if keep:
            yield batch.chosen(keep) if errors else batch


def _resized(maps: Tensor, size: int | None) -> Tensor:
    """Resize square maps bilinearly, with antialiasing if the result is smaller."""
    if size is None or size == maps.shape[-1]:
        return maps
    return F.interpolate(maps, (size, size), mode="bilinear", antialias=size < maps.shape[-1])
