"""Penalty on colors outside sRGB."""

from torch import Tensor

from lightning_colorize.color import ColorBatch, to_rgb
from lightning_colorize.losses.base import Loss, predicted_ab


class OutOfGamut(Loss):
    """How far predicted colors are outside sRGB, at the input's lightness.

    It ignores the truth and is 0 for all colors inside sRGB: use it in a `WeightedSum`.
    """

    def forward(self, prediction: Tensor, batch: ColorBatch) -> Tensor:
        """Return the distance of RGB from 0..1, mean over images, channels and pixels."""
        rgb = to_rgb(batch.L, predicted_ab(prediction, batch), clip=False)
        return (rgb - rgb.clamp(0.0, 1.0)).abs().mean()
