"""Stubs of models and metrics."""

import torchmetrics

from lightning_colorize.models.base import Model


class Predicts(Model):
    """A model that predicts a function of the true ab, for batches in their order."""

    def __init__(self, batches, change, own=None):
        self.truth = iter([batch.ab for batch in batches])
        self.change = change
        self.metrics = own or {}

    def predict(self, L, condition):
        return self.change(next(self.truth))


class LargestError(torchmetrics.MaxMetric):
    """A metric of all images, which per-image values do not give."""

    def update(self, L, ab_hat, ab):
        super().update((ab_hat - ab).abs())
