"""torchvision's classifiers as encoders."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, Literal, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import WeightsEnum, get_model, get_model_weights

from lightning_colorize.networks.base import FeatureInfo
from lightning_colorize.networks.encoders.pretrained import PretrainedEncoder, normalize_input
from lightning_colorize.networks.encoders.weights import fetch_torchvision, load_weights
from lightning_colorize.networks.layers import run_stages


class Published(NamedTuple):
    """A network of torchvision.

    Attributes:
        name: torchvision's name.
        stages: Cuts the network into consecutive modules, one per level.
        info: Channels and reductions of the levels.
        weights: torchvision's name of the published weights.
        network: An uninitialized network without the classifier; None to build all of it.
    """

    name: str
    stages: Callable[[Any], Sequence[nn.Module]]
    info: FeatureInfo
    weights: str = "IMAGENET1K_V1"
    network: nn.Module | None = None


def _halvings(*channels: int) -> FeatureInfo:
    return FeatureInfo(channels, (2, 4, 8, 16, 32))


class TorchvisionEncoder(PretrainedEncoder):
    """A network of torchvision for one input channel, with the first weights summed over RGB.

    Args:
        published: The network.
        levels: Number of levels, from the finest.
        normalization: Input range of the weights: `imagenet` (torchvision's mean and standard
            deviation), `half` (RGB / 127.5 - 1, TensorFlow's) or `0..1` (L / 100).
        options: Arguments of `PretrainedEncoder`.

    Raises:
        WeightsError: If weights are unavailable or do not fit.
        ValueError: If the network has fewer levels.
    """

    @abstractmethod
    def __init__(
        self,
        published: Published,
        levels: int = 5,
        normalization: Literal["imagenet", "half", "0..1"] = "imagenet",
        **options: Any,
    ) -> None:
        super().__init__(**options)
        info = published.info
        if not 1 <= levels <= len(info.channels):
            most = len(info.channels)
            raise ValueError(f"levels is {levels}; {type(self).__name__} supports 1 to {most}")
        self.normalization = normalization
        network = get_model(published.name) if published.network is None else published.network
        enum: WeightsEnum = get_model_weights(published.name)[published.weights]
        state = self.obtain_weights(lambda: fetch_torchvision(enum), f"torchvision {enum}")
        if state is not None:
            load_weights(network, state, ("classifier.", "fc."))
        elif published.network is not None:
            network.apply(_reset)
        stages = [*published.stages(network)]
        if self.in_channels == 1 and not isinstance(self, VGG16Encoder):
            _sum_over_rgb(stages[0])
        self.stages = nn.ModuleList(stages[:levels])
        self.info = FeatureInfo(info.channels[:levels], info.reductions[:levels])
        self.settle()

    def forward(self, L: Tensor) -> list[Tensor]:
        """Return one map per level, finest first, for L: (B, 1, H, W) in [-1, 1]."""
        if self.normalization == "imagenet":
            L = normalize_input(L)
        elif self.normalization == "0..1":
            L = normalize_input(L, (0.0,), (1.0,))
        return run_stages(self.stages, L)


class ResNetEncoder(TorchvisionEncoder):
    """ResNet-18 or ResNet-34 (He et al. 2016).

    Levels: after the first ReLU (/2, 64 channels), layer1 (/4, 64), layer2 (/8, 128), layer3
    (/16, 256) and layer4 (/32, 512). 3 levels are the first six children, 224 -> 28x28x128.

    Args:
        depth: Number of layers of the ResNet.
        levels: Number of levels, from the finest.
        options: Arguments of `TorchvisionEncoder`.
    """

    def __init__(self, depth: Literal[18, 34] = 18, levels: int = 3, **options: Any) -> None:
        info = _halvings(64, 64, 128, 256, 512)
        super().__init__(Published(f"resnet{depth}", _resnet_stages, info), levels, **options)


def _resnet_stages(network: Any) -> list[nn.Module]:
    stem = nn.Sequential(network.conv1, network.bn1, network.relu)
    pooled = nn.Sequential(network.maxpool, network.layer1)
    return [stem, pooled, network.layer2, network.layer3, network.layer4]


class MobileNetV2Encoder(TorchvisionEncoder):
    """MobileNetV2 (Sandler et al. 2018), recommended for training on a CPU.

    Levels: the last block of each size, /2 (16 channels), /4 (24), /8 (32), /16 (96), /32 (320).
    4 levels have 0.5 of the 1.8 million parameters.

    Args:
        levels: Number of levels, from the finest.
        options: Arguments of `TorchvisionEncoder`.
    """

    def __init__(self, levels: int = 5, **options: Any) -> None:
        info = _halvings(16, 24, 32, 96, 320)
        super().__init__(Published("mobilenet_v2", _mobilenet_stages, info), levels, **options)


def _mobilenet_stages(network: Any) -> list[nn.Module]:
    """Return the blocks of each size, without the classifier's expansion to 1280 channels."""
    blocks = network.features
    for block in blocks[1:-1]:
        if block.stride == 2:
            block.conv[1][0] = Float32DepthwiseConv2d(block.conv[1][0])
    return [blocks[start:end] for start, end in pairwise((0, 2, 4, 7, 14, 18))]


class RegNetEncoder(TorchvisionEncoder):
    """RegNetX-400MF (Radosavovic et al. 2020): small, and fast on a CPU.

    Levels: after the stem (/2, 32 channels) and the four stages, /4 (32), /8 (64), /16 (160) and
    /32 (400). 4 levels have 0.6 of the 5.1 million parameters.

    Args:
        levels: Number of levels, from the finest.
        options: Arguments of `TorchvisionEncoder`.
    """

    def __init__(self, levels: int = 5, **options: Any) -> None:
        published = Published(
            "regnet_x_400mf",
            lambda network: [network.stem, *network.trunk_output],
            _halvings(32, 32, 64, 160, 400),
            "IMAGENET1K_V2",
        )
        super().__init__(published, levels, **options)


class VGG16Encoder(TorchvisionEncoder):
    """VGG16 (Simonyan and Zisserman 2015), all of `features`: 224 -> 7x7x512.

    L is repeated to three channels and normalized like ImageNet's RGB. Levels: after each of the
    five pooling layers, /2 (64 channels), /4 (128), /8 (256), /16 (512) and /32 (512).

    Args:
        batch_norm: Use torchvision's VGG16 with batch norms.
        layers: Indices in torchvision's `features` whose outputs are the levels, for a perceptual
            loss; null: the pooling layers. With batch norms, conv1_1 to conv5_1 are 0, 7, 14, 24
            and 34, and the ReLUs before the pooling layers are 5, 12, 22, 32 and 42.
        options: Arguments of `TorchvisionEncoder`.

    Raises:
        ValueError: If `layers` do not ascend, or there are no such layers.
    """

    def __init__(
        self, batch_norm: bool = False, layers: list[int] | None = None, **options: Any
    ) -> None:
        published = _vgg16("vgg16_bn" if batch_norm else "vgg16", layers)
        super().__init__(published, len(published.info.channels), **options)

    def forward(self, L: Tensor) -> list[Tensor]:
        """Return one map per level, finest first, for L: (B, 1 or 3, >=32, >=32) in [-1, 1]."""
        return super().forward(L.expand(-1, 3, -1, -1))


def _vgg16(name: str, layers: list[int] | None) -> Published:
    """Return VGG16 with a level after each of the layers."""
    with torch.device("meta"):  # the classifier's 124 million parameters are never allocated
        features = get_model(name).features
    network = nn.ModuleDict({"features": features.to_empty(device=torch.empty(0).device)})
    pools = [i for i, module in enumerate(features) if isinstance(module, nn.MaxPool2d)]
    layers = pools if layers is None else layers
    ends = [0, *(layer + 1 for layer in layers)]
    if not all(0 <= before < after <= len(features) for before, after in pairwise(ends)):
        raise ValueError(f"layers are {layers}; they must ascend, up to {len(features) - 1}")
    convs = [i for i, module in enumerate(features) if isinstance(module, nn.Conv2d)]
    last = [features[max(conv for conv in convs if conv < end)] for end in ends[1:]]
    info = FeatureInfo(
        tuple(cast(nn.Conv2d, conv).out_channels for conv in last),
        tuple(2 ** sum(pool < end for pool in pools) for end in ends[1:]),
    )

    def stages(network: Any) -> list[nn.Module]:
        cut = [network.features[start:end] for start, end in pairwise(ends)]
        for stage in cut:
            if isinstance(stage[0], nn.ReLU):
                stage[0].inplace = False  # its input is a level
        return cut

    return Published(name, stages, info, network=network)


def _reset(module: nn.Module) -> None:
    """Initialize a layer of a VGG as torchvision does."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        nn.init.zeros_(module.bias)  # type: ignore[arg-type]
    elif isinstance(module, nn.BatchNorm2d):
        module.reset_parameters()


def _sum_over_rgb(stage: nn.Module) -> None:
    """Adapt the first convolution of a stage to lightness by summing its weights over RGB."""
    modules = stage.named_modules()
    name, conv = next((name, m) for name, m in modules if isinstance(m, nn.Conv2d))
    kernel, stride, padding = cast(Any, (conv.kernel_size, conv.stride, conv.padding))
    summed = nn.Conv2d(1, conv.out_channels, kernel, stride, padding, bias=False)
    summed.weight.data = conv.weight.data.sum(dim=1, keepdim=True)
    stage.set_submodule(name, summed)


class Float32DepthwiseConv2d(nn.Module):
    """A depthwise convolution of stride 2 that runs in fp32 on the CPU.

    oneDNN has no fast backward pass for it in bf16: MobileNetV2's four layers take 310 ms forward
    and backward (batch 32 of 128x128, channels last, one core of an EPYC), and 31 ms in fp32.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.weight = conv.weight

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, C, ceil(H / 2), ceil(W / 2)) with x's dtype, for x: (B, C, H, W)."""
        channels = x.shape[1]
        if x.device.type != "cpu":
            return F.conv2d(x, self.weight, stride=2, padding=1, groups=channels)
        with torch.autocast("cpu", enabled=False):
            y = F.conv2d(x.float(), self.weight.float(), stride=2, padding=1, groups=channels)
        return y.to(x.dtype)
