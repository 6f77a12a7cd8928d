"""ResNet-18 and ResNet-34 for one input channel, up to a chosen level."""

from pathlib import Path
from typing import Literal

from torch import nn
from torchvision.models import ResNet18_Weights, ResNet34_Weights, resnet18, resnet34

from lightning_colorize.networks.encoders.pretrained import PretrainedEncoder, fit_channels

_PUBLISHED = {
    18: (resnet18, ResNet18_Weights.IMAGENET1K_V1),
    34: (resnet34, ResNet34_Weights.IMAGENET1K_V1),
}


class ResNetEncoder(PretrainedEncoder):
    """torchvision's ResNet (He et al. 2016), with conv1 summed over RGB.

    Levels: after the first ReLU (/2, 64 channels), layer1 (/4, 64), layer2 (/8, 128), layer3
    (/16, 256) and layer4 (/32, 512).

    Args:
        depth: Number of layers of the ResNet.
        levels: Number of levels; 3 are the first six children, 224 -> 28x28x128.
        normalization: `imagenet` (torchvision's mean and standard deviation) or `0..1` (L / 100).
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
        depth: Literal[18, 34] = 18,
        levels: int = 3,
        normalization: Literal["imagenet", "0..1"] = "imagenet",
        pretrained: bool = False,
        weights: Path | None = None,
        frozen: bool = False,
        norm_eval: bool | None = None,
    ) -> None:
        super().__init__(pretrained, weights, frozen, norm_eval)
        self.normalization = normalization
        build, published = _PUBLISHED[depth]
        network = build(weights=None)
        self.load_torchvision(network, published, classifier="fc.")
        stages = [
            nn.Sequential(fit_channels(network.conv1), network.bn1, network.relu),
            nn.Sequential(network.maxpool, network.layer1),
            network.layer2,
            network.layer3,
            network.layer4,
        ]
        self.keep_levels(stages, (64, 64, 128, 256, 512), levels)
