"""The systems of a comparison, and the one that is a network."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from lightning_colorize.color import ColorBatch
from lightning_colorize.common.errors import UsageError
from lightning_colorize.data.decoding.files import ImageError
from lightning_colorize.inference import Colorizer, TrainingData, training_data
from lightning_colorize.runs.folder import run_of
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

    def color_prepared(
        self, name: str, rgb: Tensor, size: int, prepare: Callable[[Tensor], Tensor]
    ) -> Tensor:
        """Color one image of a protocol.

        Args:
            name: Name of the image.
            rgb: The true image, prepared: (3, H, W), uint8.
            size: Short side of a network's input, in pixels.
            prepare: From a whole image to one like `rgb`.

        Returns:
            The same shape and dtype.

        Raises:
            FloatingPointError: If the predicted colors are not finite.
        """
        return self.color_one(name, rgb, size)


class Network(System):
    """A checkpoint of ours."""

    def __init__(self, name: str, path: Path, loaded: Colorizer) -> None:
        self.name = name
        self.path = path
        self.loaded = loaded
        self.kind = loaded.path.name
        self.run = run_of(loaded.path)
        try:
            self.trained = training_data(loaded.path)
        except UsageError as error:
            self.problem = f"{error}: the training data and settings of {name} are unknown"

    def color(self, batch: ColorBatch) -> ColorBatch:
        """Return the prediction on the true lightness, as `evaluate` measures it."""
        return replace(batch, ab=self.loaded.task(batch.L))

    def color_one(self, name: str, rgb: Tensor, size: int) -> Tensor:
        """Return the image as `colorize` writes it."""
        return colorize_image(self.loaded.task, rgb, size)
