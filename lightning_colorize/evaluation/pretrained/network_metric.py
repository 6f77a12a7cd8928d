"""Metrics of pretrained networks during training, for `--model.metrics`."""

from functools import cache

import torch
from torch import Tensor, nn
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat, rank_zero_warn

from lightning_colorize.color import full_precision, to_rgb, to_rgb_in_gamut
from lightning_colorize.common.arguments import expanded_path
from lightning_colorize.common.errors import UsageError, first_line
from lightning_colorize.evaluation.pretrained.metrics import find_row
from lightning_colorize.networks.encoders.weights import read_weights, weights_skipped


@cache
def _network(name: str, weights: str, device: str) -> nn.Module:
    """Return the network of a metric, once for all splits and baselines."""
    if not (file := expanded_path(weights)).is_file():
        raise FileNotFoundError("the file does not exist")
    network = find_row(name).network(read_weights(file))
    return network.eval().requires_grad_(False).to(device)


class NetworkMetric(Metric):
    """FID, LPIPS or another metric of `protocol --metric`, measured at each validation.

    The values are those of the protocol's metric on the same 8-bit images, without extrapolation
    and interval. A checkpoint contains neither the network nor its features.

    Args:
        name: A metric of `protocol --metric`: `fid`, `kid`, `lpips_alex`, `frechet:MODEL`.
        weights: A file with the weights of its network. A run reads it when it starts.

    Raises:
        UsageError: If there is no such metric, or the file does not fit.
    """

    full_state_update = False
    is_differentiable = False
    features: list[Tensor]

    def __init__(self, name: str, weights: str) -> None:
        super().__init__()
        self.name, self.weights = name, weights
        try:
            self._metric = find_row(name)
            if not weights_skipped():  # a checkpoint may be used where the file is not
                _network(name, weights, "cpu")
        except (ImportError, OSError, RuntimeError, ValueError) as error:
            whole = " ".join(str(error).split())[:200]
            raise UsageError(f"--model.metrics {name}={weights}: {whole}") from None
        self.add_state("features", default=[], dist_reduce_fx="cat")

    @property
    def higher_is_better(self) -> bool:  # type: ignore[override]
        """Whether a larger value is better."""
        return self._metric.goal == "max"

    def update(self, L: Tensor, ab_hat: Tensor, ab: Tensor) -> None:
        """Add the features of a batch; the arguments are the same as for `ImagePair`."""
        with full_precision(L):
            pair = to_rgb_in_gamut(L.float(), ab_hat.float()), to_rgb(L.float(), ab.float())
            rgb, true = ((each * 255).round().byte() for each in pair)
            try:
                network = _network(self.name, self.weights, str(L.device))
                features = network(torch.cat([rgb, true]), torch.cat([true, true]))
            except FileNotFoundError:  # a new run has refused it
                rank_zero_warn(f"{self.name} is nan: {self.weights} does not exist")
                features = torch.full((2 * len(L), 1), torch.nan, device=L.device)
            except RuntimeError as error:  # an image too small, no memory
                height, width = true.shape[-2:]
                raise UsageError(
                    f"--model.metrics: {self.name} of {width}x{height} pixels: {first_line(error)}"
                ) from error
        self.features.append(torch.stack(features.float().chunk(2), dim=1))

    def compute(self) -> Tensor:
        """Return the metric over all images, a scalar."""
        features = dim_zero_cat(self.features).movedim(1, 0).cpu()
        if not features.isfinite().all():
            return torch.tensor(torch.nan)
        return torch.tensor(float(self._metric.reduction.plain(features, 1)[0]))
