"""A colorizer that samples the residual between true colors and their mean."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_colorize.color import AB_SCALE, NO_CONDITION, Condition
from lightning_colorize.networks.base import Decoder, Encoder, Head
from lightning_colorize.networks.denoiser import Denoiser
from lightning_colorize.networks.network import ColorizationNetwork, crop, round_up
from lightning_colorize.networks.objectives import LARGEST, Objective

REDUCTION = 4
"""Input pixels per pixel of a sample."""

_LEAST = 2.0 / AB_SCALE  # spread below which a color counts as certain: 2 LAB units
_SPREAD = 20 / AB_SCALE  # of all colors


class Encoded(NamedTuple):
    """What a batch of images contributes to its samples; computed once.

    Attributes:
        prediction: The head's prediction, at the input's size or reduced.
        context: What the denoiser knows of the image, (B, width, ...).
        mean: Mean of ab, (B, 2, h, w) in [-1, 1], at a quarter of the size, padded.
        spread: Its standard deviation, the same shape.
    """

    prediction: Tensor
    context: Tensor
    mean: Tensor
    spread: Tensor

    def residual(self, ab: Tensor) -> Tensor:
        """Return (ab - mean) / spread for true ab, (B, 2, H, W) in [-1, 1], at the mean's size."""
        small = F.avg_pool2d(ab, REDUCTION, ceil_mode=True, count_include_pad=False)
        rows, columns = (self.mean.shape[dim] - small.shape[dim] for dim in (-2, -1))
        small = F.pad(small, (0, columns, 0, rows), mode="replicate")
        return ((small - self.mean) / self.spread).clamp(-LARGEST, LARGEST)


class GenerativeNetwork(ColorizationNetwork):
    """A colorizer with a denoiser, which samples colors at a quarter of the size.

    The head gives mean and standard deviation of each pixel's colors, the denoiser samples the
    residual, (ab - mean) / spread (as CorrDiff, Mardani et al. 2023, and CARD, Han et al. 2022).
    What is certain stays calm, and the average of the samples is right from the first step.

    Args:
        encoder: Encodes L into features.
        decoder: Decodes features into one map.
        head: Turns the map into a prediction with `moments`.
        denoiser: Built from the map's channels.
        objective: How the denoiser is trained and sampled.
        residual: Sample the residual; otherwise the colors themselves, with the scale of all
            colors, as a plain conditional flow does.
    """

    def __init__(
        self,
        encoder: Encoder,
        decoder: Decoder,
        head: Head,
        denoiser: Callable[[int], Denoiser],
        objective: Objective,
        residual: bool = True,
    ) -> None:
        super().__init__(encoder, decoder, head)
        self.denoiser = denoiser(decoder.out_channels)
        self.objective = objective
        self.residual = residual

    def objective_loss(
        self, encoded: Encoded, ab: Tensor, repeats: int, dropped: float = 0.0
    ) -> Tensor:
        """Return the loss of the denoiser; random numbers are from torch's CPU generator.

        Args:
            encoded: The images.
            ab: Their true colors, (B, 2, H, W) in [-1, 1].
            repeats: Times and noises per image.
            dropped: Share of the images that the denoiser does not see.
        """
        residual = encoded.residual(ab).repeat(repeats, 1, 1, 1)
        drawn = [self.objective.times(len(residual)), torch.randn(residual.shape)]
        drawn.append(torch.rand(len(residual), 1, 1, 1) >= dropped)
        if residual.is_cuda:  # from page-locked memory, the host does not wait for the copies
            drawn = [numbers.pin_memory() for numbers in drawn]
        times, noise, seen = (n.to(residual.device, non_blocking=True) for n in drawn)
        x, target = self.objective.noised(residual, noise, times)
        context = encoded.context.repeat(repeats, 1, 1, 1) * seen
        predicted = self.denoiser(x.to(context.dtype), times, context)
        return F.mse_loss(predicted.float(), target)

    @property
    def multiple(self) -> int:
        """Height and width are padded to a multiple of this number."""
        return math.lcm(super().multiple, REDUCTION)

    def encode(
        self, L: Tensor, condition: Condition = NO_CONDITION, trains_mean: bool = True
    ) -> Encoded:
        """Run the encoder and the decoder once.

        Args:
            L: (B, 1, H, W) in [-1, 1].
            condition: As in `ColorizationNetwork.forward`.
            trains_mean: Whether encoder, decoder and head get gradients.
        """
        with torch.set_grad_enabled(trains_mean and torch.is_grad_enabled()):
            decoded, prediction = self.decode(L, condition)
            # Without gradients: colors would become wrong on purpose, to fit the residual.
            mean, spread = (moment.detach() for moment in self.head.moments(prediction))
            if not self.residual:
                mean, spread = torch.zeros_like(mean), torch.full_like(spread, _SPREAD)
            small = [round_up(side, self.multiple) // REDUCTION for side in L.shape[-2:]]
            features, mean, spread = (
                F.interpolate(values, small, mode="area") for values in (decoded, mean, spread)
            )
        spread = spread.clamp(min=_LEAST)
        context = self.denoiser.context(features, mean, spread)
        return Encoded(self.cropped(prediction, L.shape[-2:]), context, mean, spread)

    def sample(self, encoded: Encoded, noise: Tensor, steps: int, guidance: float = 1.0) -> Tensor:
        """Return residual colors for standard normal noise, both (n, B, 2, h, w).

        A `guidance` of 1 follows the image as in training; more exaggerates what it contributes
        (classifier-free guidance, Ho and Salimans 2022), and takes twice as long.
        """
        count = noise.shape[0]
        context = encoded.context.repeat(count, 1, 1, 1)

        def predict(x: Tensor, time: Tensor) -> Tensor:
            x = x.to(context.dtype)
            predicted: Tensor = self.denoiser(x, time, context)
            if guidance != 1:
                without = self.denoiser(x, time, torch.zeros_like(context))
                predicted = torch.lerp(without, predicted, guidance)
            return predicted.float()

        return self.objective.sample(predict, noise.flatten(0, 1), steps).view(noise.shape)

    def to_colors(self, encoded: Encoded, residual: Tensor, size: Sequence[int]) -> Tensor:
        """Return ab in [-1, 1], (n, B, 2, H, W), for residual colors, (n, B, 2, h, w)."""
        ab = (encoded.mean + encoded.spread * residual).flatten(0, 1)
        ab = F.interpolate(ab, scale_factor=REDUCTION, mode="bilinear", align_corners=False)
        return crop(ab, *size).view(*residual.shape[:3], *size)
