"""The decoder of Zhang et al. 2017, whose skips are added."""

from torch import Tensor, nn

from lightning_colorize.networks.base import Decoder, FeatureInfo
from lightning_colorize.networks.layers import at_size


class ZhangDecoder(Decoder):
    """conv8 to conv10 of "Real-Time User-Guided Image Colorization" (Zhang et al. 2017).

    Each step doubles the size by a transposed convolution, adds a convolution of the encoder's
    level of that size, if any, and applies ReLU and convolutions with ReLU; batch norm ends all
    steps but the last, which ends with a LeakyReLU. A step is as wide as the level, at least 128;
    the first has two convolutions, the others one.

    Args:
        info: Channels and reductions of the encoder's levels.
    """

    def __init__(self, info: FeatureInfo) -> None:
        super().__init__()
        coarsest, channels = info.reductions[-1], info.channels[-1]
        by_reduction = {r: i for i, r in enumerate(info.reductions)}
        count = coarsest.bit_length() - 1
        self.levels = [by_reduction.get(coarsest >> step) for step in range(1, count + 1)]
        self.doublings, self.skips, self.steps = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for step, level in enumerate(self.levels):
            given = 0 if level is None else info.channels[level]
            width = max(given, 128)
            self.doublings.append(nn.ConvTranspose2d(channels, width, 4, stride=2, padding=1))
            self.skips.append(nn.Conv2d(given, width, 3, padding=1) if given else nn.Identity())
            layers: list[nn.Module] = [nn.ReLU()]
            for _ in range(1 if step else 2):
                layers += [nn.Conv2d(width, width, 3, padding=1), nn.ReLU()]
            if step + 1 == count:
                layers[-1] = nn.LeakyReLU(0.2)
            else:
                layers.append(nn.BatchNorm2d(width))
            self.steps.append(nn.Sequential(*layers))
            channels = width
        self.out_channels = channels

    def forward(self, features: list[Tensor]) -> Tensor:
        """Return (B, out_channels, ~H, ~W)."""
        x = features[-1]
        for level, doubling, skip, step in zip(
            self.levels, self.doublings, self.skips, self.steps, strict=True
        ):
            x = doubling(x)
            if level is not None:
                skipped = skip(features[level])
                # The encoder rounds odd sizes up or down: 131 pixels are 66 at /2.
                x = at_size(x, skipped.shape[-2:], "nearest") + skipped
            x = step(x)
        return x
