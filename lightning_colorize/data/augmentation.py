"""Augmentation of training pictures on the device, by kornia."""

import torch
from torch import Tensor, nn

from lightning_colorize.color import to_lab, to_unit


class Augmentation(nn.Module):
    """Geometry of the photograph, then jitter of its conversion to grey.

    Real black-and-white photographs are not the L of a colour photograph: film weighs the colours
    in its own way (orthochromatic film hardly sees red) and prints have their own tone curve. The
    jitter draws both, so that the network meets them in training; the true colours stay.

    Args:
        size: Height and width that come out, in pixels.
        flip: Probability of a mirror image.
        scale: Area of the random crop as a share of the picture's, from and to; null for no crop
            (the picture is then resized).
        ratio: Width over height of the random crop, from and to.
        rotation: Largest rotation to either side in degrees; the corners are filled by reflection.
        grey_jitter: Probability that a picture's grey is drawn anew.
    """

    def __init__(
        self,
        size: int = 128,
        flip: float = 0.5,
        scale: tuple[float, float] | None = (0.6, 1.0),
        ratio: tuple[float, float] = (0.8, 1.25),
        rotation: float = 0.0,
        grey_jitter: float = 0.0,
    ) -> None:
        from kornia import augmentation as K  # takes most of a second, which help texts save

        super().__init__()
        steps: list[nn.Module] = []
        if flip:
            steps.append(K.RandomHorizontalFlip(p=flip))
        if rotation:
            steps.append(K.RandomAffine(degrees=rotation, padding_mode="reflection", p=1.0))
        if scale is not None:
            steps.append(
                K.RandomResizedCrop(
                    (size, size), scale=scale, ratio=ratio, cropping_mode="resample"
                )
            )
        else:
            steps.append(K.Resize((size, size), antialias=True))
        self.steps = nn.Sequential(*steps)
        self.grey_jitter = grey_jitter

    def geometry(self, rgb: Tensor) -> Tensor:
        """Flip, rotate and crop.

        Args:
            rgb: (B, 3, H, W), uint8 in 0..255 or floating point in 0..1.

        Returns:
            (B, 3, size, size), fp32, in 0..1.
        """
        scaled = to_unit(rgb)
        augmented: Tensor = self.steps(scaled)
        return augmented.clamp(0.0, 1.0)

    def grey(self, rgb: Tensor, L: Tensor) -> Tensor:
        """Return L with some pictures' grey drawn anew.

        Args:
            rgb: (B, 3, H, W), fp32, in 0..1.
            L: (B, 1, H, W), its lightness in [0, 100].

        Returns:
            (B, 1, H, W) in [0, 100].
        """
        if not self.grey_jitter:
            return L
        size, device = len(rgb), rgb.device
        drawn = torch.rand(size) < self.grey_jitter
        # Dirichlet(2, 2, 2): any weighting of the channels, pure ones the rarest.
        weights = torch.distributions.Dirichlet(torch.full((3,), 2.0)).sample((size,))
        gamma = torch.empty(size).uniform_(-0.35, 0.35).exp()
        # Drawn on the CPU, so that a seed gives the same pictures on every device.
        drawn, weights, gamma = drawn.to(device), weights.to(device), gamma.to(device)
        grey = (rgb * weights.view(-1, 3, 1, 1)).sum(dim=1, keepdim=True)
        grey = grey.clamp(0.0, 1.0) ** gamma.view(-1, 1, 1, 1)
        jittered, _ = to_lab(grey.expand(-1, 3, -1, -1))
        return torch.where(drawn.view(-1, 1, 1, 1), jittered, L)
