"""The dilated VGG-style network of Zhang et al., up to its coarsest map."""

from torch import Tensor, nn

from lightning_colorize.networks.base import Encoder, FeatureInfo
from lightning_colorize.networks.layers import run_stages


class ZhangEncoder(Encoder):
    """conv1 to conv7 of "Colorful Image Colorization" (Zhang et al. 2016): 512 channels at /8.

    Convolutions of 3x3 with ReLU, and one batch norm at the end of each of the seven blocks. The
    fifth and sixth block are dilated by 2 instead of halving the size again. As in Zhang et al.
    2017, the convolutions of the first three blocks keep the size and every second row and column
    goes on, unless `strided`: their last convolution has a stride of 2.

    Levels: after conv1 (/1, 64 channels), conv2 (/2, 128), conv3 (/4, 256) and conv7 (/8, 512);
    with `strided` conv1 (/2), conv2 (/4) and conv7 (/8), at a quarter of the cost of conv1.

    Args:
        strided: Halve the size in the convolutions, as the network of 2016 does.
    """

    def __init__(self, strided: bool = False) -> None:
        super().__init__()
        self.strided = strided
        stride = 2 if strided else 1
        third = _block(128, 256, 3, stride=stride)
        coarse = [_block(256, 512, 3), *(_block(512, 512, 3, dilation=d) for d in (2, 2, 1))]
        stages = [_block(1, 64, 2, stride=stride), _block(64, 128, 2, stride=stride)]
        stages += [nn.Sequential(third, *coarse)] if strided else [third, nn.Sequential(*coarse)]
        self.stages = nn.ModuleList(stages)
        self.info = FeatureInfo(
            (64, 128, 512) if strided else (64, 128, 256, 512),
            (2, 4, 8) if strided else (1, 2, 4, 8),
        )

    def forward(self, L: Tensor) -> list[Tensor]:
        """Return one map per level, finest first, for L: (B, 1, H, W) in [-1, 1]."""
        if self.strided:
            return run_stages(self.stages, L)
        features: list[Tensor] = []
        for stage in self.stages:
            L = stage(L[..., ::2, ::2] if features else L)
            features.append(L)
        return features


def _block(
    in_channels: int, out_channels: int, convs: int, stride: int = 1, dilation: int = 1
) -> nn.Sequential:
    """Return convolutions with ReLU, the last with the stride, and a batch norm."""
    layers: list[nn.Module] = []
    for number in range(convs):
        last = number + 1 == convs
        channels = out_channels if number else in_channels
        conv = nn.Conv2d(
            *(channels, out_channels, 3, stride if last else 1, dilation),
            dilation=dilation,
        )
        nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
        nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
        layers += [conv, nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, nn.BatchNorm2d(out_channels))
