"""The interfaces between the parts of a network, after timm's `feature_info`.

An encoder lists the channels and reductions of its levels, which is all that a decoder needs. A
head turns the decoder's map into a prediction, and the prediction into ab.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple, Self

from torch import Tensor, nn

from lightning_colorize.color import AB_SCALE, NO_CONDITION, ColorBatch, Condition

_SPREAD = 12.0  # typical error of a regression, in LAB units


class FeatureInfo(NamedTuple):
    """Feature levels of an encoder, finest first.

    Attributes:
        channels: Channels of each level.
        reductions: Input pixels per feature pixel of each level, strictly increasing: (2, 4, 8).
    """

    channels: tuple[int, ...]
    reductions: tuple[int, ...]


class Recorded:
    """Records the constructor's arguments, so that a checkpoint can describe the object.

    Attributes:
        init_arguments: Positional and keyword arguments, as given.
    """

    init_arguments: tuple[tuple[Any, ...], dict[str, Any]]

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Record the arguments before any constructor runs."""
        self = super().__new__(cls)
        # nn.Module accepts attributes only after its constructor.
        object.__setattr__(self, "init_arguments", (args, kwargs))
        return self


class NeedsWeights(ABC):
    """A part of a task that needs files of weights before training."""

    @abstractmethod
    def require_weights(self) -> None:
        """Raise an error if weights are missing; `fit` calls it before any work."""


class Encoder(Recorded, nn.Module, ABC):
    """Encodes grey images into features.

    Attributes:
        info: Channels and reductions of the levels that `forward` returns.
        weights_from: Where the initial weights come from.
        conditions: Names of the conditions that `forward` accepts as its second argument.
        label_names: The class names that it accepts as labels.
    """

    info: FeatureInfo
    weights_from: str = "random"
    conditions: frozenset[str] = frozenset()
    label_names: Sequence[str] = ()

    @property
    def pretrained_part(self) -> "Encoder":
        """The part that can start from pretrained weights, and may learn at a lower rate."""
        return self

    def set_label_names(self, names: Sequence[str]) -> None:
        """Learn the class names of the training images; nothing without labels."""

    def simulate(self, batch: ColorBatch) -> Condition:
        """Return the condition of a training batch; none by default."""
        return NO_CONDITION

    @abstractmethod
    def forward(self, L: Tensor) -> list[Tensor]:
        """Return one map per level, finest first: (B, channels[i], ~H/r[i], ~W/r[i]).

        L is (B, 1, H, W) in [-1, 1]; H and W may be odd.
        """


class TextEncoder(Recorded, ABC):
    """Encodes prompts; frozen, so that checkpoints do not contain its weights.

    Attributes:
        width: Number of values per text.
    """

    width: int

    def __deepcopy__(self, memo: Any) -> Self:
        """Return itself: copies of a network share it."""
        return self

    @abstractmethod
    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Return (B, width), fp32."""


class Decoder(nn.Module, ABC):
    """Decodes features into one map at, or slightly below, the input resolution.

    Attributes:
        out_channels: Channels of the map that `forward` returns.
    """

    out_channels: int

    @abstractmethod
    def forward(self, features: list[Tensor]) -> Tensor:
        """Return (B, out_channels, h, w) for an encoder's maps, finest first."""


class Discriminator(Recorded, nn.Module, ABC):
    """Classifies colors as real or predicted, given the grey image."""

    @property
    @abstractmethod
    def smallest(self) -> int:
        """The minimum height and width of an image."""

    @abstractmethod
    def forward(self, L: Tensor, ab: Tensor) -> Tensor:
        """Return logits, higher for real colors: (B, 1, h, w).

        L is (B, 1, H, W), ab (B, 2, H, W), both in [-1, 1].
        """


class Head(nn.Module, ABC):
    """Turns a decoded map into a prediction, and the prediction into ab.

    Attributes:
        reduction: Input pixels per pixel of the prediction.
        keep_lightness: Whether the head's images keep the given L.
    """

    reduction: int = 1
    keep_lightness: bool = True

    @abstractmethod
    def forward(self, decoded: Tensor, size: tuple[int, int]) -> Tensor:
        """Return the prediction.

        Args:
            decoded: The decoder's map, (B, out_channels, h, w).
            size: Height and width of the input, multiples of `reduction`.

        Returns:
            (B, C, H / reduction, W / reduction).
        """

    @abstractmethod
    def target(self, ab: Tensor, L: Tensor | None = None) -> Tensor:
        """Return the truth in the format that this head's losses need.

        Args:
            ab: The true colors, (B, 2, H, W) in [-1, 1].
            L: The lightness, (B, 1, H, W) in [-1, 1], which only a head of whole images needs.
        """

    @abstractmethod
    def to_ab(self, prediction: Tensor) -> Tensor:
        """Decode a prediction to ab in [-1, 1], at the prediction's size: (B, 2, h, w)."""

    @abstractmethod
    def mix(self, prediction: Tensor, ab: Tensor, logit: Tensor) -> Tensor:
        """Return the prediction of a mixture of a prediction and given colors.

        Args:
            prediction: As `forward` returns.
            ab: The colors in [-1, 1], (B, 2, h, w), at the prediction's size.
            logit: Log-odds of the colors against the prediction, (B, 1, h, w).
        """

    def moments(self, prediction: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation of ab in [-1, 1], each (B, 2, h, w).

        By default the prediction, and the same standard deviation for all pixels.
        """
        mean = self.to_ab(prediction)
        return mean, mean.new_full(mean.shape, _SPREAD / AB_SCALE)
