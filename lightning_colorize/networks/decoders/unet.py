"""The expanding path of pix2pix's U-Net."""

from typing import Literal

from torch import Tensor, nn

from lightning_colorize.networks.base import Decoder, FeatureInfo
from lightning_colorize.networks.decoders.upsample import DecoderStep
from lightning_colorize.networks.layers import init_normal, norm_layer

_OUT_REDUCTION = 2


class UNetDecoder(Decoder):
    """Transposed convolutions with the encoder's level of the same size at each step.

    The generator's decoder (Isola et al. 2017) without its last convolution, which is `DeconvHead`,
    so it stops at /2. Each step is as wide as the level that it concatenates. As in the authors'
    PyTorch code, convolutions have a bias with instance norm only.

    With another encoder, steps concatenate its levels from /2 on; finer levels are unused.

    Args:
        info: Channels and reductions of the encoder's levels.
        dropout: Dropout probability in the steps that are as wide as the coarsest level, except the
            first: 2 steps of a U-Net at 128, 3 at 256, none if each level is wider than the one
            before.
        norm: Normalization after each convolution.

    Raises:
        ValueError: If the encoder's coarsest level is not /4, /8, /16, ...
    """

    def __init__(
        self,
        info: FeatureInfo,
        dropout: float = 0.5,
        norm: Literal["batch", "instance"] = "batch",
    ) -> None:
        super().__init__()
        coarsest = info.reductions[-1]
        if coarsest < 2 * _OUT_REDUCTION:
            raise ValueError(
                f"the encoder's coarsest level is /{coarsest}; UNetDecoder needs /4, /8, /16, ..."
            )
        by_reduction = {r: i for i, r in enumerate(info.reductions)}
        channels = info.channels[-1]
        self.levels: list[int | None] = []
        steps = []
        reduction = coarsest // 2
        while reduction >= _OUT_REDUCTION:
            level = by_reduction.get(reduction)
            width = info.channels[level or 0]
            # The first step's input is the coarsest level alone.
            inner = channels > width == info.channels[-1]
            block = nn.Sequential(
                nn.ReLU(),  # not in place: the input may be the encoder's map
                nn.ConvTranspose2d(channels, width, 4, 2, 1, bias=norm == "instance"),
                norm_layer(norm, width),
                nn.Dropout(dropout if inner else 0.0),
            )
            steps.append(DecoderStep(block, nn.Identity()))
            self.levels.append(level)
            channels = width if level is None else 2 * width
            reduction //= 2
        self.steps = nn.ModuleList(steps)
        self.out_channels = channels
        init_normal(self)

    def forward(self, features: list[Tensor]) -> Tensor:
        """Return (B, out_channels, ~H/2, ~W/2)."""
        x = features[-1]
        for step, level in zip(self.steps, self.levels, strict=True):
            x = step(x, None if level is None else features[level])
        return x
