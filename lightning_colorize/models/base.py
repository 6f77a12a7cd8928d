"""The interface of all colorizers."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self
from zlib import crc32

import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_colorize.color import NO_CONDITION, Condition
from lightning_colorize.color.hints import follow
from lightning_colorize.common.bundled import BUNDLED, SAMPLES
from lightning_colorize.common.digest import sha256_of
from lightning_colorize.common.errors import UsageError
from lightning_colorize.metrics import Baselines
from lightning_colorize.models.settings import Settings

# Share of a network's own answer to many hints, fitted on validation images: the rest corrects best
# what the network gets wrong. Hints count by the parts of the image that have any, in pixels.
_HINTED, _PART = 1 / 3, 16


@dataclass(frozen=True)
class View:
    """How whole images are prepared for comparison.

    Attributes:
        prepare: Prepares a whole image, (3, H, W) in uint8, for comparison; None if it was resized.
        side: Minimum short side in pixels that `prepare` needs; None for the full size.
        finished: Whether an image of the target shape skips `prepare`.
        crops: `prepare` crops, so an image whose aspect ratio differs from the truth's is
            ambiguous.
    """

    prepare: Callable[[Tensor], Tensor] | None = None
    side: int | None = None
    finished: bool = False
    crops: bool = False


class TrainedNetwork(ABC):
    """A task, or the parts of an exported file, that can return its network as a model."""

    @abstractmethod
    def to_model(self) -> "Model":
        """Return the network as a model, which colorizes images of any size."""


class Model(ABC):
    """A colorizer.

    Subclasses implement `predict` and, unless this returns ab, `colors`. All other methods have a
    default.

    Attributes:
        settings: The current settings; a model with additional settings uses a subclass.
        draws: Whether `colors` samples, so that an image can have several colorings.
        keeps_lightness: Whether the model keeps the given L. Otherwise `predict_rgb` returns whole
            images.
        multiple: Heights and widths of L are padded to multiples of this.
        size: Short side of L in pixels.
        sees_whole: Whether `predict_rgb` returns images that were not colorized at `size`.
        path: The file or folder that the model was loaded from; None if it was built in Python.
        device: Device on which L is expected.
        baselines: Baselines fitted on the training images; None if unknown.
        data_root: The folder of the training images, as given; None if unknown.
        metrics: Custom torchmetrics by name, in addition to the metrics of `metrics.spec`.
        conditions: Names of the conditions that the model accepts: hints, reference,
            palette, label, prompt.
        sees_hints: Whether `predict` uses hints; they are followed anyway.
        sees_references: Whether it also uses those that references give.
        label_names: The class names that the model accepts as labels.
        is_of_run: Whether the test metrics of the run that contains `path` are this model's.
    """

    settings: Settings = Settings()
    draws: ClassVar[bool] = False
    keeps_lightness: bool = True
    multiple: int = 1
    size: int = 256
    sees_whole: ClassVar[bool] = False
    path: Path | None = None
    device: torch.device = torch.device("cpu")
    baselines: Baselines | None = None
    data_root: str | None = None
    metrics: Mapping[str, Any] = {}
    conditions: frozenset[str] = frozenset({"hints", "reference"})
    sees_hints: bool = False
    sees_references: bool = False
    label_names: Sequence[str] = ()
    is_of_run: ClassVar[bool] = True

    @abstractmethod
    def predict(self, L: Tensor, condition: Condition) -> Any:
        """Compute everything that does not depend on the settings, once per batch.

        Args:
            L: (B, 1, H, W) in [0, 100], on the model's device; H and W are multiples of `multiple`.
            condition: The conditions of the images; only those in `conditions`, and hints only if
                the model `sees_hints`.

        Returns:
            The input of `colors`: by default ab, (B, 2, H, W) in LAB units, fp32.
        """

    def colors(
        self,
        prediction: Any,
        settings: Settings,
        n: int = 1,
        generators: Sequence[torch.Generator] = (),
    ) -> Tensor:
        """Return colorings, without applying the `strength` and `flip` settings.

        Args:
            prediction: The result of `predict`.
            settings: Settings of the same class as `self.settings`.
            n: Number of colorings; 1 unless the model samples.
            generators: One per image, for a model that samples, so that the colors of an image do
                not depend on the rest of the batch. They are on the CPU: draw there, then move the
                numbers to the prediction's device, so that every device has the same colors.

        Returns:
            ab: (n, B, 2, H, W) in LAB units, fp32.
        """
        ab: Tensor = prediction.unsqueeze(0)
        return ab

    def generators(self, L: Tensor, seed: int = 0) -> list[torch.Generator]:
        """Return a generator per image; an empty list for a model that does not sample.

        It is seeded with `seed` and the image's pixels: different images have different samples,
        and an image has the same samples in every batch.

        Args:
            L: (B, 1, H, W) in [0, 100].
            seed: Seed for all images.
        """
        seeds = image_seeds(L, seed) if self.draws else []
        return [torch.Generator().manual_seed(each) for each in seeds]

    def require_samples(self, n: int) -> None:
        """Raise a UsageError if the model has fewer than n colorings per image."""
        if n > 1 and not self.draws:
            raise UsageError(
                f"{self} is deterministic and has one coloring per image, not {n}; the bundled "
                f"{SAMPLES} has many"
            )

    def to(self, device: torch.device) -> Self:
        """Move the model and its baselines to a device."""
        self.device = device
        if self.baselines is not None:
            self.baselines.to(device)
        return self

    def condition_for(self, condition: Condition, settings: Settings) -> Condition:
        """Return a condition whose colors are as given after `strength` is applied."""
        strength = settings.strength
        return condition.scaled(1 / strength) if strength not in (0, 1) else condition

    def views(self, L: Tensor, condition: Condition, flip: bool) -> list[Any]:
        """Return the predictions for L and, with `flip`, for its mirror image.

        `condition` is a result of `condition_for`.
        """
        views = [self.predict(L, condition)]
        return [*views, self.predict(L.flip(-1), condition.mirrored())] if flip else views

    def combine(
        self,
        views: Sequence[Any],
        settings: Settings,
        n: int = 1,
        generators: Sequence[torch.Generator] = (),
    ) -> Tensor:
        """Return the colorings of `views`: (n, B, 2, H, W) in LAB units.

        Raises:
            UsageError: If more than one coloring is requested from a deterministic model.
        """
        self.require_samples(n)
        states = [generator.get_state() for generator in generators]
        ab = self.colors(views[0], settings, n, generators)
        if len(views) > 1:
            for generator, state in zip(generators, states, strict=True):
                generator.set_state(state)  # the mirror image gets the same samples
            ab = (ab + self.colors(views[1], settings, n, generators).flip(-1)) / 2
        return ab if settings.strength == 1 else ab * settings.strength

    def ask(self, L: Tensor, condition: Condition, settings: Settings, flip: bool) -> list[Any]:
        """Return the views of images for `answer`, with any of the `conditions`."""
        given = self.condition_for(condition, settings)
        given = given._replace(hints=self._seen(given))
        if given.hints is None or self.draws:
            return self.views(L, given, flip)
        plain = given._replace(hints=torch.zeros_like(given.hints))
        return self.views(torch.cat([L, L]), plain.joined(given), flip)

    def _seen(self, condition: Condition) -> Tensor | None:
        """Return the hints that `predict` uses; None without any."""
        hints = condition.hints
        if hints is None or not self.sees_hints:
            return None
        if not self.sees_references:
            hints = hints * (hints[:, 2:] == 1)
        return hints if _has_hints(hints) else None

    def answer(
        self,
        views: Sequence[Any],
        L: Tensor,
        condition: Condition,
        settings: Settings,
        n: int = 1,
        generators: Sequence[torch.Generator] = (),
    ) -> Tensor:
        """Return the colorings of a result of `ask`, as `combine` does, which follow the hints."""
        ab = plain = self.combine(views, settings, n, generators)
        hints = condition.hints
        if hints is None or not _has_hints(hints):
            return ab
        if self._seen(condition) is not None and not self.draws:
            count = L.shape[0]  # no chunks, see `NetworkModel`
            plain = ab[:, :count]
            # How far a single one reaches, the network knows better.
            parts = F.avg_pool2d(hints[:, 2:], _PART, ceil_mode=True) > 0
            share = _HINTED * (1 + 1 / parts.sum((1, 2, 3), keepdim=True).clamp(min=1))
            ab = torch.lerp(plain, ab[:, count:], share)
        if settings.strength == 0:  # grey
            return ab
        pairs = zip(ab, plain, strict=True)
        return torch.stack([follow(each, hints, L, other) for each, other in pairs])

    def color(
        self,
        L: Tensor,
        condition: Condition = NO_CONDITION,
        settings: Settings | None = None,
        n: int = 1,
        generators: Sequence[torch.Generator] = (),
    ) -> Tensor:
        """Return ab for L, (B, 1, H, W) in [0, 100]: (n, B, 2, H, W) in LAB units, fp32.

        Uses the current settings and generators with seed 0 unless others are given.

        Raises:
            UsageError: If more than one coloring is requested from a deterministic model.
        """
        settings = settings or self.settings
        generators = generators or self.generators(L)
        views = self.ask(L, condition, settings, settings.flip)
        return self.answer(views, L, condition, settings, n, generators)

    def predict_rgb(self, name: str, truth: Tensor, view: View) -> Tensor:
        """Return an image with the model's own lightness; for models without `keeps_lightness`.

        Args:
            name: Name of the image.
            truth: The true image to compare with, (3, H, W) in uint8; only its L is used.
            view: How the image was prepared.

        Returns:
            The same shape and dtype.

        Raises:
            FloatingPointError: If the colors are not finite.
            ImageError: If the file cannot be read.
        """
        raise NotImplementedError

    def has(self, name: str) -> bool:
        """Return whether the model can colorize the image with this name."""
        return True

    @property
    def kind(self) -> str:
        """The kind of the model in one word, or the name of its file."""
        return type(self).__name__ if self.path is None else self.path.name

    @property
    def sha256(self) -> str | None:
        """SHA-256 of the model file; None if there is no single file."""
        return None if self.path is None else sha256_of(self.path)

    def set_precision(self, dtype: torch.dtype | None) -> None:
        """Change the dtype of matrix products and convolutions; None for fp32.

        Raises:
            UsageError: If the precision is fixed.
        """
        if dtype is not None:
            raise UsageError(f"{self} has a fixed precision")

    def card_rows(self) -> dict[str, str]:
        """Return rows of a model card, such as the number of parameters."""
        return {}

    def __str__(self) -> str:
        names = {str(file): name for name, file in BUNDLED.items()}
        return self.kind if self.path is None else names.get(str(self.path), str(self.path))


def _has_hints(hints: Tensor) -> bool:
    return torch.compiler.is_exporting() or bool(hints[:, 2].any())


def image_seeds(L: Tensor, seed: int) -> list[int]:
    """Return a seed for each image, from `seed` and the pixels of L, (B, 1, H, W) in [0, 100]."""
    return [seed + crc32(each.tobytes()) for each in L.round().byte().cpu().numpy()]
