"""Metrics that need pretrained networks: FID, KID, LPIPS, CLIP score, and others by path."""

from lightning_colorize.evaluation.pretrained.metrics import (
    METRICS,
    PretrainedMetrics,
    find_metrics,
)
from lightning_colorize.evaluation.pretrained.network_metric import NetworkMetric
from lightning_colorize.evaluation.pretrained.result import PretrainedResult, PretrainedValue

__all__ = [
    "METRICS",
    "NetworkMetric",
    "PretrainedMetrics",
    "PretrainedResult",
    "PretrainedValue",
    "find_metrics",
]
