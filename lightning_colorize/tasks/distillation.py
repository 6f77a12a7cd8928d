"""A loss that compares two classifications: the student's and a trained network's."""

from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_colorize.color import NO_CONDITION, AbBins, ColorBatch
from lightning_colorize.common.errors import UsageError
from lightning_colorize.losses import Loss
from lightning_colorize.models.load import load_model
from lightning_colorize.models.network import NetworkModel
from lightning_colorize.networks import ClassificationHead, Head
from lightning_colorize.networks.base import NeedsWeights


class Distillation(Loss, NeedsWeights):
    """Cross-entropy between a `ClassificationHead`'s bins and a teacher's distribution.

    A small network learns what a large one considers possible, not only the one true color (Hinton
    et al. 2015). Each bin has the student's weight, as in `CrossEntropy`, so the two agree in a
    `WeightedSum`.

    The teacher is not a submodule: the optimizer and checkpoints do not contain it. It is loaded
    when the loss is first computed, also in validation, and by `fit` before.

    Args:
        teacher: A checkpoint of a network with a `ClassificationHead`, a run folder, or `default`.
    """

    head = ClassificationHead

    def __init__(self, teacher: str) -> None:
        super().__init__()
        self.path = teacher
        self._bins: list[AbBins] = []  # the student's; a list hides them from checkpoints

    def require_head(self, head: Head) -> None:
        """Check that the head is a `ClassificationHead`, and use its weights of the bins."""
        super().require_head(head)
        assert isinstance(head, ClassificationHead)
        self._bins = [head.bins]

    @cached_property
    def teacher(self) -> NetworkModel:
        """The teacher, loaded when first used.

        Raises:
            UsageError: If it cannot be loaded, or has another head.
        """
        model = load_model(Path(self.path).expanduser())
        if not isinstance(model, NetworkModel) or model.bins is None or model.draws:
            raise UsageError(f"{self.path} cannot be a teacher: it has no ClassificationHead")
        model.network.requires_grad_(False)
        return model

    def require_weights(self) -> None:
        """Load the teacher."""
        _ = self.teacher

    def forward(self, prediction: Tensor, batch: ColorBatch) -> Tensor:
        """Return the mean over images and pixels of (B, 313, H / 4, W / 4)."""
        with torch.inference_mode(False):  # validation may be first, and training comes later
            teacher = self.teacher
            if teacher.device != prediction.device:
                teacher.device = prediction.device
        with torch.no_grad():
            shares = teacher.shares(teacher.predict(batch.L, NO_CONDITION))
            codes = shares * self._bins[0].weights.view(1, -1, 1, 1)
        log_shares = F.log_softmax(prediction.movedim(1, -1), dim=-1, dtype=torch.float32)
        return -(codes.movedim(1, -1) * log_shares).sum(-1).mean()
