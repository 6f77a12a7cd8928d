"""A feature pyramid from the single map of a plain vision transformer."""

from torch import Tensor, nn
from torchvision.models.convnext import LayerNorm2d

from lightning_colorize.networks.base import Encoder, FeatureInfo


class PyramidEncoder(Encoder):
    """Levels at /4, /8, /16 and /32 from an encoder's map at /16, as ViTDet (Li et al. 2022).

    Transposed convolutions double the map's size, a max pool halves it; a 1x1 and a 3x3 convolution
    with layer norms follow. These layers learn at the decoder's rate.

    Args:
        encoder: An encoder whose coarsest level, the only one that is used, is at /16.
        width: Channels of each level.

    Raises:
        ValueError: If the encoder's coarsest level is not at /16, or it takes conditions.
    """

    def __init__(self, encoder: Encoder, width: int = 96) -> None:
        super().__init__()
        if encoder.info.reductions[-1] != 16 or encoder.conditions:
            raise ValueError(
                "PyramidEncoder needs an encoder without conditions whose coarsest level is /16, "
                f"not {encoder.info.reductions[-1]}"
            )
        # Not `encoder`: checkpoints of encoders with conditions are known by this name.
        self.backbone = encoder
        channels = encoder.info.channels[-1]
        half, quarter = channels // 2, channels // 4
        self.stages = nn.ModuleList(
            [
                nn.Sequential(
                    nn.ConvTranspose2d(channels, half, 2, stride=2),
                    LayerNorm2d(half),
                    nn.GELU(),
                    nn.ConvTranspose2d(half, quarter, 2, stride=2),
                    *_project(quarter, width),
                ),
                nn.Sequential(
                    nn.ConvTranspose2d(channels, half, 2, stride=2), *_project(half, width)
                ),
                nn.Sequential(*_project(channels, width)),
                nn.Sequential(nn.MaxPool2d(2, ceil_mode=True), *_project(channels, width)),
            ]
        )
        self.info = FeatureInfo((width,) * 4, (4, 8, 16, 32))

    @property
    def weights_from(self) -> str:  # type: ignore[override]
        """Where the encoder's initial weights come from."""
        return self.backbone.weights_from

    @property
    def pretrained_part(self) -> Encoder:
        """The encoder without the pyramid."""
        return self.backbone.pretrained_part

    def forward(self, L: Tensor) -> list[Tensor]:
        """Return four maps, finest first, for L: (B, 1, H, W) in [-1, 1]."""
        features = self.backbone(L)[-1]
        height, width = L.shape[-2:]
        # A padded map at /16 covers more than the image, below and at the right.
        return [
            stage(features)[..., : (height + r - 1) // r, : (width + r - 1) // r]
            for stage, r in zip(self.stages, self.info.reductions, strict=True)
        ]


def _project(channels: int, width: int) -> list[nn.Module]:
    return [
        nn.Conv2d(channels, width, 1, bias=False),
        LayerNorm2d(width),
        nn.Conv2d(width, width, 3, padding=1, bias=False),
        LayerNorm2d(width),
    ]
