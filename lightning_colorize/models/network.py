"""Networks from a task, a checkpoint or an exported file, as models."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_colorize.color import AbBins, Condition, LabScaling
from lightning_colorize.models.base import Model, View
from lightning_colorize.models.image import network_input, predict
from lightning_colorize.models.settings import ClassificationSettings, Settings
from lightning_colorize.networks import ClassificationHead, ColorizationNetwork, parameter_count


class Predicted(NamedTuple):
    """The prediction of a network's head, with height and width of the input.

    `chosen` are the specialists of a `RoutedModel`, None for the common network.
    """

    values: Tensor
    size: torch.Size
    chosen: Sequence[str | None] = ()


class NetworkModel(Model):
    """A lightning-colorize network.

    Args:
        network: The network, in evaluation mode and on its device.
        scaling: Conversion between LAB units and the network's range.
        metrics: The task's custom torchmetrics by name, whose import would take a second.

    Attributes:
        description: Encoder, decoder and head as plain data; None if the task does not record them.
        autocast: Dtype of matrix products and convolutions; None for the dtype of the parameters or
            the Trainer's autocast.
    """

    def __init__(
        self,
        network: ColorizationNetwork,
        scaling: LabScaling,
        metrics: Mapping[str, Any] | None = None,
    ) -> None:
        self.network = network
        self.scaling = scaling
        self.description: Mapping[str, Any] | None = None
        self.metrics = metrics or {}
        self.autocast: torch.dtype | None = None
        self.multiple = network.multiple
        self.label_names = network.encoder.label_names
        self.conditions = network.encoder.conditions
        self.sees_hints = "hints" in self.conditions
        self.sees_references = "reference" in self.conditions
        if not self.label_names:
            self.conditions -= {"label"}
        head = network.head
        self.keeps_lightness = head.keep_lightness or self.draws
        if self.keeps_lightness:
            self.conditions |= Model.conditions
        if isinstance(head, ClassificationHead):
            # The fewest digits that are the same in float32: `colors` writes them back.
            names = ("vividness", "temperature")
            decoding = {n: float(str(np.float32(getattr(head, n).item()))) for n in names}
            self.settings = ClassificationSettings.model_validate(decoding)

    @property
    def device(self) -> torch.device:
        """The device of the network; setting it moves the network."""
        return self.scaling.ab_scale.device

    @device.setter
    def device(self, device: torch.device) -> None:
        nn.ModuleDict(self.modules()).to(device)

    def predict(self, L: Tensor, condition: Condition) -> Predicted:
        """Return the prediction of the network's head."""
        return self._predicted(self.network, L, condition)

    def views(self, L: Tensor, condition: Condition, flip: bool) -> list[Predicted]:
        """Return the predictions for L and its mirror image, which share a batch."""
        return self._views(self.network, L, condition, flip)

    def colors(
        self,
        prediction: Predicted,
        settings: Settings,
        n: int = 1,
        generators: Sequence[torch.Generator] = (),
    ) -> Tensor:
        """Return the decoded prediction."""
        # An exported graph has the decoding as constants and cannot change its values.
        if isinstance(settings, ClassificationSettings) and not torch.compiler.is_exporting():
            head = cast(ClassificationHead, self.network.head)
            head.set_decoding(settings.vividness, settings.temperature)
        ab = self.network.to_ab(prediction.values, prediction.size)
        return self.scaling.restore_ab(ab).unsqueeze(0)

    def predict_rgb(self, name: str, truth: Tensor, view: View) -> Tensor:
        """Return the RGB that an `RgbHead` predicts, enlarged from the network's size.

        The settings do not change it.
        """
        seen = network_input(truth, self.size)
        (predicted,) = predict(self, [seen], flip=False).views
        height, width = seen.shape[-2:]
        rgb = predicted.values[..., :height, :width]
        if not rgb.isfinite().all():
            raise FloatingPointError("the network predicts colors that are not finite")
        rgb = F.interpolate(rgb, truth.shape[-2:], mode="bilinear", align_corners=False)
        return (rgb[0] * 255).round().byte().cpu()

    @property
    def bins(self) -> AbBins | None:
        """The colors of a classification; None for a regression."""
        head = self.network.head
        return head.bins if isinstance(head, ClassificationHead) else None

    def shares(self, prediction: Any) -> Tensor:
        """Return the share of each of the `bins`, (B, 313, h, w), at a quarter of the size.

        Args:
            prediction: As returned by `predict`.
        """
        assert self.bins is not None
        return self.bins.shares(prediction.encoded.prediction if self.draws else prediction.values)

    def _views(
        self, network: ColorizationNetwork, L: Tensor, condition: Condition, flip: bool
    ) -> list[Predicted]:
        if not flip:
            return [self._predicted(network, L, condition)]
        joined = condition.joined(condition.mirrored())
        both, size, _ = self._predicted(network, torch.cat([L, L.flip(-1)]), joined)
        # Slice by the shape: ONNX cannot chunk a batch of dynamic size, and `len` would make it a
        # constant.
        count = L.shape[0]
        return [Predicted(view, size) for view in (both[:count], both[count:])]

    def _predicted(
        self, network: ColorizationNetwork, L: Tensor, condition: Condition
    ) -> Predicted:
        with self._precision(L):
            return Predicted(network(self._normalized(L), condition), L.shape[-2:])

    def _normalized(self, L: Tensor) -> Tensor:
        return self.scaling.normalize_L(L).to(next(self.network.parameters()).dtype)

    def _precision(self, L: Tensor) -> AbstractContextManager[Any]:
        if self.autocast is None:
            return nullcontext()
        return torch.autocast(L.device.type, self.autocast)

    def set_precision(self, dtype: torch.dtype | None) -> None:
        """Change the dtype of matrix products and convolutions; None for fp32."""
        self.autocast = dtype

    def hyperparameters(self) -> dict[str, Any]:
        """Return the arguments of `exported.ExportedNetwork`."""
        return dict(self.description or {})

    def modules(self) -> dict[str, nn.Module]:
        """Return the modules by their names in an exported file."""
        return {"net": self.network, "scaling": self.scaling}

    def state_dict(self) -> dict[str, Tensor]:
        """Return the weights, with the names of an exported file."""
        return nn.ModuleDict(self.modules()).state_dict()

    def card_rows(self) -> dict[str, str]:
        """Return the rows of a model card."""
        net = self.network
        names = ", ".join(type(part).__name__ for part in (net.encoder, net.decoder, net.head))
        return {"network": f"{names}: {self.parameters():,} parameters"}

    def parameters(self) -> int:
        """Return the number of parameters of all networks."""
        return sum(sum(parameter_count(part)) for part in self.modules().values())
