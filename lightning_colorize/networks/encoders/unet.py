"""The contracting path of pix2pix's U-Net."""

from itertools import pairwise
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from lightning_colorize.networks.base import Encoder, FeatureInfo
from lightning_colorize.networks.layers import LeakyBlock, init_normal

_SHALLOWEST, _DEEPEST = 3, 8


class UNetEncoder(Encoder):
    """Strided convolutions down to one pixel: the generator's encoder (Isola et al. 2017).

    Its levels are the results of the LeakyReLUs, at /2, /4, /8 and so on, with 1, 2, 4, 8, 8, ...
    times `width` channels. The first and the innermost convolution have no norm. As in the authors'
    PyTorch code, convolutions have a bias with instance norm only.

    Args:
        size: Height and width of the training images; `fit` sets it to data.size.
        depth: Number of times the size is halved; null: as often as possible, at most 8 times (7 at
            128, 8 at 256).
        width: Channels of the finest level.
        norm: Normalization after each convolution between the first and the innermost.

    Raises:
        ValueError: If the size cannot be halved that often, or fewer than 3 times, or `width` is
            less than 1.
    """

    def __init__(
        self,
        size: int = 128,
        depth: int | None = None,
        width: int = 64,
        norm: Literal["batch", "instance"] = "batch",
    ) -> None:
        super().__init__()
        if width < 1:
            raise ValueError(f"width is {width}; UNetEncoder needs at least 1")
        if depth is None:
            halvings = (size & -size).bit_length() - 1
            depth = min(max(halvings, _SHALLOWEST), _DEEPEST)
        if depth < _SHALLOWEST:
            raise ValueError(f"depth is {depth}; UNetEncoder needs at least {_SHALLOWEST}")
        if size % 2**depth:
            raise ValueError(
                f"a U-Net of depth {depth} needs a size that is a multiple of {2**depth}, not "
                f"{size}"
            )
        widths = [width * min(2**level, 8) for level in range(depth)]
        stages = []
        for level, (before, after) in enumerate(pairwise([1, *widths])):
            normed = 0 < level < depth - 1
            stages.append(LeakyBlock(before, after, norm if normed else "none", norm == "instance"))
        self.stages = nn.ModuleList(stages)
        self.info = FeatureInfo(tuple(widths), tuple(2 ** (i + 1) for i in range(depth)))
        init_normal(self)

    def forward(self, L: Tensor) -> list[Tensor]:
        """Return one map per level, finest first, for L: (B, 1, H, W) in [-1, 1].

        Maps of images smaller than 2**depth are padded by replication.
        """
        x = L
        features = []
        for stage in self.stages:
            # Maps must not be empty, and an instance norm needs more than one pixel.
            smallest = 2 if stage is self.stages[-1] else 4
            below, right = (max(smallest - side, 0) for side in x.shape[-2:])
            if below or right:
                x = F.pad(x, (0, right, 0, below), mode="replicate")
            x = stage(x)
            features.append(x)
        return features
