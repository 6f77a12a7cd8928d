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
from lightning_colorize.common.arguments import split_name
from lightning_colorize.common.bundled import with_bundled
from lightning_colorize.common.errors import UsageError
from lightning_colorize.data.dataset import crop_square, limit_length, resize_short_side
from lightning_colorize.data.decoding.files import ImageError
from lightning_colorize.data.sources import SourceError
from lightning_colorize.data.sources.listing import list_images
from lightning_colorize.inference import TrainingData, training_data
from lightning_colorize.metrics import BASELINES
from lightning_colorize.metrics.image_pair import ImagePair
from lightning_colorize.metrics.samples import difference_map
from lightning_colorize.models.base import Model, View
from lightning_colorize.models.folder import FolderModel
from lightning_colorize.models.image import colorize_image
from lightning_colorize.models.load import load_model
from lightning_colorize.models.settings import Settings
from lightning_colorize.runs.artifacts import is_artifact
from lightning_colorize.runs.folder import CHECKPOINTS, CONFIG, is_run, run_of

_RESERVED = (*BASELINES, "truth", "broken")
"""Reserved names: the pages use them for rows, columns and study images."""


class Prediction(NamedTuple):
    """The colorings of a batch by one row of a table."""

    L: Tensor  # (B, 1, H, W) in [0, 100]: of the input, or the row's own.
    ab: Tensor  # (n, B, 2, H, W) in LAB units
    more: Tensor | None = None  # (metrics, B): values of `Results.more`.


Predictor = Callable[[ColorBatch], Iterable[Prediction]]
"""Colors a batch with one row of a table after the other."""


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

    def load(self, batch: ColorBatch, view: View) -> list[ImageError]:
        """Return the errors of images of a batch, prepared with `view`, that cannot be read.

        If the model returns images, this keeps the images of the batch for `predict`.
        """
        self._images, errors = {}, list[ImageError]()
        if self.model.keeps_lightness:
            return errors
        truths = (to_rgb(batch.L, batch.ab) * 255).round().byte().cpu()
        for name, truth in zip(batch.names, truths, strict=True):
            try:
                self._images[name] = to_unit(self.model.predict_rgb(name, truth, view))
            except FloatingPointError:
                self._images[name] = torch.full(truth.shape, torch.nan)
            except ImageError as error:
                errors.append(ImageError(Path(name), f"{self.name}: {error.reason}"))
        return errors

    def predict(self, batch: ColorBatch, samples: int = 1, seed: int = 0) -> Prediction:
        """Colorize a batch, after `load`; a model that samples does so `samples` times."""
        model = self.model
        if model.keeps_lightness:
            L, n = batch.L.to(model.device), samples if model.draws else 1
            ab = model.color(L, n=n, generators=model.generators(L, seed))
            return Prediction(batch.L, ab.to(batch.L.device))
        rgb = torch.stack([self._images[name] for name in batch.names])
        L, ab = to_lab(rgb.to(batch.L.device))
        return Prediction(L, ab.unsqueeze(0))

    def color_whole(
        self, name: str, rgb: Tensor, size: int, view: View | None = None, seed: int = 0
    ) -> Tensor:
        """Colorize one whole image, (3, H, W), uint8; the result has the same shape and dtype.

        `size` is the short side of a network's input in pixels. `view` is how `rgb` was prepared;
        by default it was resized. Raises FloatingPointError for colors that are not finite, and
        ImageError if a file of the model cannot be read.
        """
        if self.model.keeps_lightness:
            return colorize_image(self.model, rgb, size, seed=seed)
        return self.model.predict_rgb(name, rgb, view or View(side=min(rgb.shape[-2:])))

    def difference_map(self, rgb: Tensor, samples: int, seed: int) -> Tensor:
        """Return the CIEDE2000 between samples of an image, (3, H, W), uint8: (1, H, W)."""
        L = to_lightness(rgb[None].to(self.model.device))
        ab = self.model.color(L, n=samples, generators=self.model.generators(L, seed))
        return difference_map([ImagePair(L, each, each) for each in ab])[0]


def open_systems(
    words: Sequence[str], data: Path, allow: Sequence[str], device: torch.device
) -> list[System]:
    """Open the systems of a command line, each `NAME=RUN_OR_CKPT_OR_FOLDER`."""
    named = [split_word(word) for word in words]
    names = [name for name, _ in named]
    for name, path in named:
        if names.count(name) > 1:
            raise UsageError(f"two systems are named {name}; give each its own NAME=")
        if name in _RESERVED:
            raise UsageError(f"{name} is a reserved name of the page; choose another NAME")
        if not (path.exists() or is_artifact(path)):
            raise UsageError(
                f"{path} does not exist; give NAME= and a run folder, a checkpoint, a W&B artifact "
                "or a folder of images colorized elsewhere"
            )
    return [open_system(name, path, data, allow, device) for name, path in named]


def split_word(word: str) -> tuple[str, Path]:
    """Split `NAME=PATH` into name and path; the name defaults to the path's."""
    name, path = split_name(word)
    path = with_bundled(path)
    if name or is_artifact(path):
        return name or path.name, path
    folder = run_of(path) or (path if path.is_dir() else None)
    return path.stem if folder is None else folder.resolve().name, path


def open_system(
    name: str, path: Path, data: Path, allow: Sequence[str], device: torch.device
) -> System:
    """Open a checkpoint, a run folder, or a folder of images colorized elsewhere."""
    if path.is_file() or is_run(path) or is_artifact(path):
        return System(name, path, load_model(path, allow, device))
    try:
        files = list_images(path)
    except SourceError:
        raise UsageError(
            f"{path} is neither a run folder (with {CONFIG} or {CHECKPOINTS}/) nor an image folder"
        ) from None
    return System(name, path, FolderModel(path, files, data))


def square_view(side: int) -> View:
    """Return the view of `fit` and `evaluate`: a center crop, as a square with this side."""
    return View(lambda rgb: crop_square(resize_short_side(limit_length(rgb), side), side), side)


def predict_with_settings(
    model: Model,
    settings: Sequence[tuple[Settings, int | None]],
    baselines: Iterable[Model],
    samples: int = 1,
    seed: int = 0,
) -> Predictor:
    """Color batches with a model in each of its settings, and then with the baselines.

    Each setting has the input size of the network, or None for the size of the batch; a prediction
    of another size is resized. Consecutive settings of one size and `flip` share a prediction.
    """
    count = samples if model.draws else 1

    def predict(batch: ColorBatch) -> Iterator[Prediction]:
        for (size, flip), group in groupby(settings, lambda pair: (pair[1], pair[0].flip)):
            L = _resized(batch.L, size)
            views = model.views(L, NO_CONDITION, flip)
            for setting, _ in group:
                ab = model.combine(views, setting, count, model.generators(L, seed))
                whole = _resized(ab.flatten(0, 1), batch.L.shape[-1])
                yield Prediction(batch.L, whole.view(*ab.shape[:2], *whole.shape[1:]))
        yield from (Prediction(batch.L, model.color(batch.L)) for model in baselines)

    return predict


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
