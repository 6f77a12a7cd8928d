"""Stubs of models and metrics."""

import torch
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


class Obeys(Model):
    """Paints hints (everywhere if it `floods`) and a palette's first color; else grey and noise."""

    draws = True
    conditions = frozenset({"hints", "palette", "label"})
    sees_hints = True
    label_names = ("green", "red")

    def __init__(self, floods: bool = False, noise: float = 0.0) -> None:
        self.floods = floods
        self.noise = noise

    def predict(self, L, condition):
        ab = torch.zeros(len(L), 2, *L.shape[-2:], device=L.device)
        if condition.hints is not None:
            hints = condition.hints
            mean = hints[:, :2].sum((2, 3), True) / hints[:, 2:].sum((2, 3), True)
            ab = ab + mean if self.floods else hints[:, :2] * hints[:, 2:]
        if condition.palettes is not None:
            ab = ab + condition.palettes[:, 0, :2, None, None]
        if condition.labels is not None:
            ab[:, 0] += torch.tensor([-20.0, 20, 0])[condition.labels, None, None]  # 0 for none
        return ab

    def colors(self, prediction, settings, n=1, generators=()):
        shape = (n, *prediction.shape[1:])
        noise = [torch.randn(shape, generator=generator) for generator in generators]
        return prediction + self.noise * torch.stack(noise, dim=1)
