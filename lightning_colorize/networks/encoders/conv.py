"""The encoder of a U-Net: convolutions and pooling."""

from itertools import pairwise

from torch import Tensor, nn

from lightning_colorize.networks.base import Encoder, FeatureInfo
from lightning_colorize.networks.layers import ConvBlock, Norm, run_stages


class ConvEncoder(Encoder):
    """Convolutions at each level, with 2x2 pooling between levels (Ronneberger et al. 2015).

    Levels: before each pooling, so /1, /2, /4 and so on. With decoder skips this is a U-Net,
        without them an autoencoder.

    Args:
        widths: Channels of each level, finest first.
        convs: Number of 3x3 convolutions per level.
        norm: Normalization after each convolution.
    """

    def __init__(
        self, widths: list[int] | None = None, convs: int = 2, norm: Norm = "batch"
    ) -> None:
        super().__init__()
        widths = [64, 128, 256, 512] if widths is None else widths
        stages = []
        for level, (before, width) in enumerate(pairwise([1, *widths])):
            pool = [nn.MaxPool2d(2)] if level else []
            blocks = [ConvBlock(before if i == 0 else width, width, norm) for i in range(convs)]
            stages.append(nn.Sequential(*pool, *blocks))
        self.stages = nn.ModuleList(stages)
        self.info = FeatureInfo(tuple(widths), tuple(2**i for i in range(len(widths))))

    def forward(self, L: Tensor) -> list[Tensor]:
        """Return one map per level, finest first, for L: (B, 1, H, W) in [-1, 1]."""
        return run_stages(self.stages, L)
