"""Heads, which turn the decoder's map into a prediction of ab."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_colorize.color import AB_SCALE, AbBins, to_lab, to_rgb
from lightning_colorize.color.precision import at_least_fp32
from lightning_colorize.networks.base import Head
from lightning_colorize.networks.layers import at_size, init_normal
from lightning_colorize.networks.network import pad_input, round_up


class RegressionHead(Head):
    """Base class of heads that regress ab.

    The output is computed for -1..1 and then mapped affinely to `target_range`, so the same weights
    give the same image with either range. For 0..1, tanh becomes a sigmoid: (tanh(x) + 1) / 2 =
    sigmoid(2x).
    """

    def __init__(
        self,
        conv: nn.Conv2d | nn.ConvTranspose2d,
        target_range: Literal["-1..1", "0..1"],
        activation: Literal["tanh", "none"],
    ) -> None:
        super().__init__()
        self.target_range = target_range
        self.activation = activation
        self.conv = conv

    def forward(self, decoded: Tensor, size: tuple[int, int]) -> Tensor:
        """Return predicted ab in the target's range: (B, 2, H, W) at `size`."""
        # Near 0.5, a bf16 step is almost one unit of ab, so 0..1 would be coarser than -1..1.
        ab = at_size(at_least_fp32(self.conv(decoded)), size)
        if self.activation == "tanh":
            ab = torch.tanh(ab)
        return self.target(ab)

    def target(self, ab: Tensor, L: Tensor | None = None) -> Tensor:
        """Map ab in [-1, 1] to the target's range: (B, 2, H, W)."""
        return (ab + 1) / 2 if self.target_range == "0..1" else ab

    def to_ab(self, prediction: Tensor) -> Tensor:
        """Return a prediction's ab in [-1, 1] (outside it without an activation): (B, 2, H, W)."""
        return prediction * 2 - 1 if self.target_range == "0..1" else prediction

    def mix(self, prediction: Tensor, ab: Tensor, logit: Tensor) -> Tensor:
        """Return the mean of prediction and given colors, weighted by the odds."""
        return torch.lerp(prediction, self.target(ab), logit.sigmoid())


class AbHead(RegressionHead):
    """Regression of ab by one convolution.

    Initialized near zero, so the first prediction is almost grey.

    Args:
        in_channels: Channels of the decoder's map.
        target_range: Range of targets and predictions; 0..1 has grey at 0.5.
        activation: `tanh` keeps predictions within the range, `none` does not.
        kernel_size: Kernel size of the convolution to two channels; odd.
    """

    def __init__(
        self,
        in_channels: int,
        target_range: Literal["-1..1", "0..1"] = "-1..1",
        activation: Literal["tanh", "none"] = "tanh",
        kernel_size: int = 3,
    ) -> None:
        if kernel_size % 2 == 0:
            raise ValueError(f"kernel_size is {kernel_size}; it must be odd")
        conv = nn.Conv2d(in_channels, 2, kernel_size, padding=kernel_size // 2)
        nn.init.normal_(conv.weight, std=1e-3)
        nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
        super().__init__(conv, target_range, activation)


class DeconvHead(RegressionHead):
    """ReLU, transposed 4x4 convolution with stride 2, tanh: the last step of pix2pix's generator.

    For a decoder that stops at /2, as `UNetDecoder` does.

    Args:
        in_channels: Channels of the decoder's map.
        target_range: Range of targets and predictions; 0..1 has grey at 0.5.
    """

    def __init__(self, in_channels: int, target_range: Literal["-1..1", "0..1"] = "-1..1") -> None:
        conv = nn.ConvTranspose2d(in_channels, 2, 4, stride=2, padding=1)
        super().__init__(conv, target_range, activation="tanh")
        init_normal(self)

    def forward(self, decoded: Tensor, size: tuple[int, int]) -> Tensor:
        """Return predicted ab in the target's range: (B, 2, H, W) at `size`."""
        return super().forward(F.relu(decoded), size)


class RgbHead(Head):
    """Regression of sRGB, (B, 3, H, W) in [0, 1], by one convolution and a sigmoid.

    Losses compare all three channels, so the network also learns the lightness that it was given.
    `colorize`, `evaluate`, and the metrics of a run take only the colors and keep the L of the
    image.

    Args:
        in_channels: Channels of the decoder's map.
        keep_lightness: Also keep the L of the image in `compare` and `protocol`; otherwise these
            measure the RGB as predicted.
    """

    def __init__(self, in_channels: int, keep_lightness: bool = False) -> None:
        super().__init__()
        self.keep_lightness = keep_lightness
        self.conv = nn.Conv2d(in_channels, 3, 3, padding=1)
        nn.init.normal_(self.conv.weight, std=1e-3)
        nn.init.zeros_(self.conv.bias)  # type: ignore[arg-type]

    def forward(self, decoded: Tensor, size: tuple[int, int]) -> Tensor:
        """Return predicted RGB in [0, 1], fp32 even under autocast: (B, 3, H, W) at `size`."""
        # LAB of dark colors needs finer steps than bf16 has.
        return at_size(at_least_fp32(self.conv(decoded)), size).sigmoid()

    def target(self, ab: Tensor, L: Tensor | None = None) -> Tensor:
        """Return the true RGB in [0, 1]: (B, 3, H, W)."""
        assert L is not None
        return to_rgb((L + 1) * 50, ab * AB_SCALE)

    def to_ab(self, prediction: Tensor) -> Tensor:
        """Return the colors of predicted RGB, without its lightness: (B, 2, H, W) in [-1, 1]."""
        return to_lab(prediction)[1] / AB_SCALE

    def mix(self, prediction: Tensor, ab: Tensor, logit: Tensor) -> Tensor:
        """Return the mean of predicted and given colors, at the predicted lightness."""
        L, predicted = to_lab(prediction)
        return to_rgb(L, torch.lerp(predicted, ab * AB_SCALE, logit.sigmoid()))


class ClassificationHead(Head):
    """A distribution over 313 bins of ab, at a quarter of the size (Zhang et al. 2016).

    Trained with `CrossEntropy`. In training, the bins of rare colors have higher weights. Decoding
    removes these weights: completely for faithful colors, not at all for vivid ones. The task
    counts the training set's colors before the first step.

    Args:
        in_channels: Channels of the decoder's map.
        vividness: From 0 (weights fully removed) to 1 (weights kept, as in the paper).
        temperature: Temperature of the annealed mean: 1 gives the mean, towards 0 the mode.

    Attributes:
        bins: The bins, their prior and weights.
        vividness: See above; `set_decoding` changes it, checkpoints contain it.
        temperature: See above; `set_decoding` changes it, checkpoints contain it.

    Raises:
        ValueError: If `vividness` is not in 0..1, or `temperature` not above 0.
    """

    reduction = 4
    vividness: Tensor
    temperature: Tensor

    def __init__(self, in_channels: int, vividness: float = 0.5, temperature: float = 0.38) -> None:
        super().__init__()
        self.bins = AbBins()
        self.conv = nn.Conv2d(in_channels, len(self.bins), 1)
        nn.init.normal_(self.conv.weight, std=1e-3)
        nn.init.zeros_(self.conv.bias)  # type: ignore[arg-type]
        self.register_buffer("vividness", torch.tensor(0.0))
        self.register_buffer("temperature", torch.tensor(1.0))
        self.set_decoding(vividness, temperature)

    def set_decoding(self, vividness: float, temperature: float) -> None:
        """Set the decoding of predictions.

        Raises:
            ValueError: If a value is out of range.
        """
        if not 0 <= vividness <= 1:
            raise ValueError(f"vividness must be from 0 to 1, not {vividness}")
        if not 1e-3 <= temperature <= 1e3:
            raise ValueError(f"temperature must be from 0.001 to 1000, not {temperature}")
        self.vividness.fill_(vividness)
        self.temperature.fill_(temperature)

    def forward(self, decoded: Tensor, size: tuple[int, int]) -> Tensor:
        """Return logits: (B, 313, H / 4, W / 4), in fp32 even under autocast."""
        small = size[0] // self.reduction, size[1] // self.reduction
        if decoded.shape[-2] > small[0]:
            decoded = F.adaptive_avg_pool2d(decoded, small)
        return at_least_fp32(self.conv(at_size(decoded, small)))

    def target(self, ab: Tensor, L: Tensor | None = None) -> Tensor:
        """Return soft codes of true ab in [-1, 1], weighted by the nearest bin's weight.

        Returns:
            (B, 10, H / 4, W / 4), fp32: the indices of 5 bins, then their weighted codes.
        """
        # The prediction has the same cells, because the network pads its input in the same way.
        padded = pad_input(ab, *(round_up(side, self.reduction) for side in ab.shape[-2:]))
        mean = F.avg_pool2d(padded.float() * AB_SCALE, self.reduction)
        nearest, codes = self.bins.encode(mean)
        return torch.cat([nearest, codes * self.bins.weights[nearest[:, :1]]], dim=1)

    def to_ab(self, prediction: Tensor) -> Tensor:
        """Return the annealed mean of the bins, in [-1, 1]: (B, 2, H / 4, W / 4)."""
        return self.bins.decode(prediction, self.temperature, 1 - self.vividness) / AB_SCALE

    def mix(self, prediction: Tensor, ab: Tensor, logit: Tensor) -> Tensor:
        """Return the logits of a mixture of prediction and soft codes of given colors."""
        codes = self.bins.soft_codes(ab * AB_SCALE)
        return torch.logaddexp(prediction, codes + logit + prediction.logsumexp(1, keepdim=True))

    def moments(self, prediction: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation of the bins, without the weights of rare colors."""
        mean, spread = self.bins.moments(prediction)
        return mean / AB_SCALE, spread / AB_SCALE
