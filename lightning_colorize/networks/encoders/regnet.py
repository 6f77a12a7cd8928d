"""RegNetX for one input channel: small, and fast on a CPU."""

from pathlib import Path

from torch import Tensor
from torchvision.models import RegNet_X_400MF_Weights, regnet_x_400mf

from lightning_colorize.networks.encoders.pretrained import (
    PretrainedEncoder,
    fit_channels,
    normalize_input,
)
from lightning_colorize.networks.layers import run_stages


class RegNetEncoder(PretrainedEncoder):
    """torchvision's RegNetX-400MF (Radosavovic et al. 2020), its stem summed over RGB.

    Levels: after the stem (/2, 32 channels) and the four stages, /4 (32), /8 (64), /16 (160) and
    /32 (400).

    Args:
        levels: Number of levels; 4 have 0.6 of the 5.1 million parameters.
        pretrained: Download torchvision's ImageNet weights.
        weights: A state dict in torchvision's form, instead of a download.
        frozen: Train nothing; batch norms keep their statistics.
        norm_eval: Batch norms keep their statistics while the rest trains; null: where weights
            are loaded.

    Raises:
        WeightsError: If weights are unavailable or do not fit, or `frozen` is set without weights.
        ValueError: If `levels` is not 1 to 5.
    """

    def __init__(
        self,
        levels: int = 5,
        pretrained: bool = False,
        weights: Path | None = None,
        frozen: bool = False,
        norm_eval: bool | None = None,
    ) -> None:
        super().__init__(pretrained, weights, frozen, norm_eval)
        network = regnet_x_400mf(weights=None)
        self.load_torchvision(network, RegNet_X_400MF_Weights.IMAGENET1K_V2, classifier="fc.")
        network.stem[0] = fit_channels(network.stem[0])
        stages = [network.stem, *network.trunk_output]
        self.keep_levels(stages, (32, 32, 64, 160, 400), levels)

    def forward(self, L: Tensor) -> list[Tensor]:
        """Return one map per level, finest first, for L: (B, 1, H, W) in [-1, 1]."""
        return run_stages(self.stages, normalize_input(L))
