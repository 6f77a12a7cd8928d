"""Stubs of tasks."""

import torch
from torch import nn

from lightning_colorize.metrics.spec import Metric


class Predicts(nn.Module):
    """A task that predicts a function of the true ab, for batches in their order.

    Attributes:
        truth: The true ab of each batch.
        change: True to predicted ab.
        own_metrics: Its own metrics, by name.
    """

    device = torch.device("cpu")

    def __init__(self, batches, change, own=None):
        super().__init__()
        self.truth = iter([batch.ab for batch in batches])
        self.change = change
        self.own_metrics = own or {}
        self.metric_rows = [Metric.own(name, None) for name in self.own_metrics]

    def forward(self, L):
        return self.change(next(self.truth))
