"""PatchGAN, the discriminator of pix2pix."""

from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from lightning_colorize.networks.base import Discriminator
from lightning_colorize.networks.layers import LeakyBlock, Norm, init_normal


class PatchDiscriminator(Discriminator):
    """Classifies overlapping patches of an image (PatchGAN, Isola et al. 2017).

    Args:
        layers: Number of convolutions with stride 2, 1 to 5; patches have 16, 34, 70, 142 or 286
            pixels.
        width: Channels of the first convolution; each following one doubles them, up to 8 times
            `width`.
        norm: Normalization after each convolution between the first and the last; `spectral`
            instead divides the weights of all convolutions by their largest singular value (Miyato
            et al. 2018).

    Raises:
        ValueError: If `layers` is not 1 to 5, or `width` is less than 1.
    """

    def __init__(
        self,
        layers: int = 3,
        width: int = 64,
        norm: Literal["batch", "instance", "group", "spectral"] = "batch",
    ) -> None:
        super().__init__()
        if not 1 <= layers <= 5:
            raise ValueError(f"layers is {layers}; PatchDiscriminator supports 1 to 5")
        if width < 1:
            raise ValueError(f"width is {width}; PatchDiscriminator needs at least 1")
        self.layers = layers
        between: Norm = "none" if norm == "spectral" else norm
        bias = norm in ("instance", "spectral")
        widths = [width * min(2**i, 8) for i in range(layers + 1)]
        blocks = [LeakyBlock(3, width, "none", bias=True)]
        for number, (before, after) in enumerate(pairwise(widths), start=1):
            stride = 2 if number < layers else 1
            blocks.append(LeakyBlock(before, after, between, bias, stride))
        self.blocks = nn.Sequential(*blocks)
        self.last = nn.Conv2d(widths[-1], 1, 4, padding=1)
        init_normal(self)
        if norm == "spectral":
            for part in [*self.modules()]:
                if isinstance(part, nn.Conv2d):
                    spectral_norm(part)

    @property
    def smallest(self) -> int:
        """The minimum height and width, which give one logit."""
        return 3 << self.layers

    def forward(self, L: Tensor, ab: Tensor) -> Tensor:
        """Return a logit per patch: (B, 1, h, w), where h and w are H and W / 2**layers - 2."""
        logits: Tensor = self.last(self.blocks(torch.cat([L, ab], dim=1)))
        return logits
