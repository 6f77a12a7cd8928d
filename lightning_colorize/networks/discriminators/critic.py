"""The critic of DeOldify, which DDColor uses too."""

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from lightning_colorize.color import AB_SCALE, to_rgb
from lightning_colorize.networks.base import Discriminator


class CriticDiscriminator(Discriminator):
    """fastai's GAN critic with spectral norm on all convolutions (DeOldify; DDColor).

    It sees the RGB image in 0..1: 4x4 convolutions of stride 2, each but the first after a 3x3
    convolution, then a 3x3 and a 4x4 convolution without padding. Self-attention (SAGAN, Zhang et
    al. 2019) follows the second convolution of stride 2.

    Args:
        layers: Number of convolutions with stride 2, at least 2; images need 4 times 2**layers
            pixels.
        width: Channels of the first convolution; each following one of stride 2 doubles them.
        slope: Slope of the LeakyReLU below 0; DDColor: 0, a ReLU.
        dropout: Dropout probability of the channels after 3x3 convolutions, half of it after the
            first convolution; DeOldify: 0.15.

    Raises:
        ValueError: If `layers` is less than 2, or `width` less than 4.
    """

    def __init__(
        self, layers: int = 4, width: int = 64, slope: float = 0.2, dropout: float = 0.0
    ) -> None:
        super().__init__()
        if layers < 2 or width < 4:
            raise ValueError(f"layers is {layers}, width is {width}; the least are 2 and 4")
        self.layers = layers

        def block(before: int, after: int, kernel: int, stride: int) -> list[nn.Module]:
            conv = _normed(nn.Conv2d(before, after, kernel, stride, padding=1))
            return [conv, nn.LeakyReLU(slope, inplace=True)]

        blocks = [*block(3, width, 4, 2), nn.Dropout2d(dropout / 2)]
        for number in range(1, layers):
            blocks += [*block(width, width, 3, 1), nn.Dropout2d(dropout)]
            blocks += block(width, 2 * width, 4, 2)
            width *= 2
            if number == 1:
                blocks.append(SAGANAttention(width))
        blocks += block(width, width, 3, 1)
        self.blocks = nn.Sequential(*blocks, _normed(nn.Conv2d(width, 1, 4, bias=False)))

    @property
    def smallest(self) -> int:
        """The minimum height and width, which give one logit."""
        return 4 << self.layers

    def forward(self, L: Tensor, ab: Tensor) -> Tensor:
        """Return a logit per patch: (B, 1, h, w), where h and w are H and W / 2**layers - 3."""
        rgb = to_rgb((L + 1) * 50, ab * AB_SCALE, clip=False)
        logits: Tensor = self.blocks(rgb.to(L.dtype))
        return logits


class SAGANAttention(nn.Module):
    """Self-attention with one head, and a residual weight that starts at 0; (B, C, H, W)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.query, self.key, self.value = (
            _normed(nn.Conv1d(channels, out, 1, bias=False))
            for out in (channels // 8, channels // 8, channels)
        )
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        """Return x plus the attention over all pixels."""
        pixels = x.flatten(2)
        scores = self.query(pixels).transpose(1, 2) @ self.key(pixels)
        # fastai's softmax is over the queries' dimension.
        gathered: Tensor = self.value(pixels) @ scores.softmax(dim=1)
        return x + self.gamma * gathered.view_as(x)


def _normed(conv: nn.Conv2d | nn.Conv1d) -> nn.Module:
    nn.init.kaiming_normal_(conv.weight)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return spectral_norm(conv)
