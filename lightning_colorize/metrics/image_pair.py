"""Predicted and true images of a batch, in the forms that metrics need."""

from functools import cached_property

import torch
from torch import Tensor

from lightning_colorize.color import colorfulness, delta_e, to_lab, to_rgb


class ImagePair:
    """A batch of predicted and true images; each form is computed once, on first use.

    Use it within `full_precision`, as `measure` does.

    Args:
        L: (B, 1, H, W) in [0, 100], the lightness of the true colors.
        ab_hat: (B, 2, H, W) in LAB units, predicted.
        ab: (B, 2, H, W) in LAB units, true.
        L_hat: (B, 1, H, W) in [0, 100], the lightness of images that were colorized elsewhere; None
            for the true lightness, which a colorizer keeps.
    """

    def __init__(self, L: Tensor, ab_hat: Tensor, ab: Tensor, L_hat: Tensor | None = None) -> None:
        self.L, self.ab_hat, self.ab = L.float(), ab_hat.float(), ab.float()
        self.L_hat = self.L if L_hat is None else L_hat.float()

    @cached_property
    def rgb_hat(self) -> Tensor:
        """Predicted RGB, (B, 3, H, W) in [0, 1]."""
        return to_rgb(self.L_hat, self.ab_hat)

    @cached_property
    def rgb(self) -> Tensor:
        """True RGB, (B, 3, H, W) in [0, 1]."""
        return to_rgb(self.L, self.ab)

    @cached_property
    def lab_hat(self) -> tuple[Tensor, Tensor]:
        """L and ab of the predicted RGB, in which colors outside sRGB are clipped."""
        return to_lab(self.rgb_hat)

    @cached_property
    def lab(self) -> tuple[Tensor, Tensor]:
        """L and ab of the true RGB."""
        return to_lab(self.rgb)

    @cached_property
    def ciede2000(self) -> Tensor:
        """CIEDE2000 of each pixel, between the RGB images: (B, 1, H, W)."""
        return delta_e.ciede2000(self.lab_hat, self.lab)

    @cached_property
    def colorfulness(self) -> Tensor:
        """Colorfulness of the predicted and of the true RGB, (2, B)."""
        return torch.stack([colorfulness(self.rgb_hat), colorfulness(self.rgb)])
