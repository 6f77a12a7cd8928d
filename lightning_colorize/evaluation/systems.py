"""The systems of a comparison, and the one that is a network."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from lightning_colorize.color import ColorBatch, to_lab, to_rgb
from lightning_colorize.common.digest import sha256_of
from lightning_colorize.common.errors import UsageError
from lightning_colorize.data.decoding.files import ImageError
from lightning_colorize.evaluation.protocol import Protocol
from lightning_colorize.inference import Colorizer, TrainingData, training_data
from lightning_colorize.metrics import Baselines
from lightning_colorize.runs.folder import run_of
from lightning_colorize.tasks import ColorizationTask
from lightning_colorize.tasks.outside import OutsideNetwork
from lightning_colorize.tasks.prediction import colorize_image


class System(ABC):
    """One column of a comparison.

    Attributes:
        name: Name on the page.
        path: The path as given.
        kind: What it is, in a few words.
        run: The run folder around it, if any.
        trained: The data of that run; None if it is unknown.
        problem: Why it is unknown, if its configuration cannot be read.
    """

    name: str
    path: Path
    kind: str
    run: Path | None = None
    trained: TrainingData | None = None
    problem: str | None = None

    @property
    def sha256(self) -> str | None:
        """SHA-256 of the checkpoint, or of others' weights; None for images and for a command."""
        return None

    def color_all(self, images: Iterable[tuple[str, Tensor]]) -> None:
        """Color all images at once, if the system can only do this.

        Args:
            images: Names and true images, (3, H, W), uint8.

        Raises:
            WorkError: If it fails.
        """
        return  # images are colored one by one, or are there already

    def load(self, names: Sequence[str], side: int) -> list[ImageError]:
        """Read the files of a batch; return the errors."""
        return []

    @abstractmethod
    def color(self, batch: ColorBatch) -> ColorBatch:
        """Colorize a batch of squares: L is the truth's, or that of images colorized elsewhere."""

    @abstractmethod
    def color_one(self, name: str, rgb: Tensor, size: int) -> Tensor:
        """Color one whole image for display; `rgb` and the result are (3, H, W), uint8.

        Raises:
            FloatingPointError: If the predicted colors are not finite.
        """

    def color_prepared(self, name: str, rgb: Tensor, size: int, protocol: Protocol) -> Tensor:
        """Color one image of a protocol.

        Args:
            name: Name of the image.
            rgb: The true image, prepared: (3, H, W), uint8.
            size: Short side of a network's input, in pixels.
            protocol: As which `rgb` was prepared.

        Returns:
            The same shape and dtype.

        Raises:
            FloatingPointError: If the predicted colors are not finite.
        """
        return self.color_one(name, rgb, size)


class Predictor(System):
    """A network, on the true lightness.

    Attributes:
        task: In evaluation mode; its own metrics are measured too.
        baselines: On the task's device; None if it has none.
    """

    def __init__(self, name: str, task: ColorizationTask, baselines: Baselines | None) -> None:
        self.name = name
        self.task = task
        self.baselines = baselines

    def color(self, batch: ColorBatch) -> ColorBatch:
        """Return the prediction with the true lightness."""
        return replace(batch, ab=self.task(batch.L))

    def color_one(self, name: str, rgb: Tensor, size: int) -> Tensor:
        """Return the image as `colorize` writes it."""
        return colorize_image(self.task, rgb, size)


class Network(Predictor):
    """A checkpoint of ours."""

    def __init__(self, name: str, path: Path, loaded: Colorizer) -> None:
        super().__init__(name, loaded.task, loaded.baselines)
        self.path = path
        self.loaded = loaded
        self.kind = loaded.path.name
        self.run = run_of(loaded.path)
        try:
            self.trained = training_data(loaded.path)
        except UsageError as error:
            self.problem = f"{error}: the training data and settings of {name} are unknown"

    @property
    def sha256(self) -> str | None:
        """As of a `System`."""
        program = self.task.net
        if isinstance(program, OutsideNetwork):
            return program.outside.sha256  # compared when they were loaded
        return sha256_of(self.loaded.path)


class OutsideImages(Network):
    """A program of others that returns RGB, with a lightness of its own."""

    def __init__(self, name: str, path: Path, loaded: Colorizer, program: OutsideNetwork) -> None:
        super().__init__(name, path, loaded)
        self.program = program

    def color(self, batch: ColorBatch) -> ColorBatch:
        """Return the images with the lightness that the program gave them."""
        rgb = (to_rgb(batch.L, batch.ab) * 255).round().byte()
        undefined = []
        for index, each in enumerate(rgb):
            try:
                rgb[index] = self.program.color(each.cpu())
            except FloatingPointError:
                undefined.append(index)
        L, ab = to_lab(rgb)
        ab[undefined] = torch.nan
        return ColorBatch(L, ab, batch.names)

    def color_one(self, name: str, rgb: Tensor, size: int) -> Tensor:
        """Return the image as the program colors it."""
        return self.program.color(rgb)
