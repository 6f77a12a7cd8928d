"""RegNetX for one input channel: small, and fast on a CPU."""

from pathlib import Path

from torchvision.models import RegNet_X_400MF_Weights, regnet_x_400mf

from lightning_colorize.networks.encoders.pretrained import PretrainedEncoder, fit_channels


class RegNetEncoder(PretrainedEncoder):
    """torchvision's RegNetX-400MF (Radosavovic et al. 2020), with the stem summed over RGB.

    Levels: after the stem (/2, 32 channels) and the four stages, /4 (32), /8 (64), /16 (160) and
    /32 (400).

    Args:
        levels: Number of levels; 4 levels have 0.6 of the 5.1 million parameters.
        pretrained: Download torchvision's ImageNet weights.
        weights: File with a state dict in torchvision's format, instead of a download.
        frozen: Freeze all parameters and batch norm statistics.
        norm_eval: Keep batch norm statistics fixed during training; null: if weights are loaded.

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
