"""The table of metrics (name, goal, format, help), and the names of the baselines.

A metric is a row here and a function of the same name in `formulas`. A metric over a set of images,
such as a correlation, lists the `columns` that it is computed from. Validation logs, `evaluate`,
`result.json`, sweeps, reports and the documentation read this table.

Imports nothing heavy.
"""

from dataclasses import dataclass
from typing import Literal

Goal = Literal["max", "min"]

CONFIDENCE = 0.95
"""Confidence level of all intervals."""

TAILS = ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2)
"""The quantiles at the bounds of these intervals."""


@dataclass(frozen=True)
class Metric:
    """One row of the table.

    `goal` is None if neither direction is always better. `columns` are the per-image values that a
    metric over a set of images is computed from; empty for a metric that is averaged over images. A
    `headline` is shown where there is room for only a few metrics.
    """

    name: str
    goal: Goal | None
    format: str
    help: str
    needs_truth: bool = True
    columns: tuple[str, ...] = ()
    headline: bool = False

    @property
    def per_image(self) -> bool:
        """Whether each image has its own value."""
        return not self.columns

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of the per-image values that it is computed from."""
        return self.columns or (self.name,)

    @property
    def full_help(self) -> str:
        """The help line with the direction of improvement."""
        directions = {"max": "; higher is better", "min": "; lower is better", None: ""}
        return self.help + directions[self.goal]

    @classmethod
    def custom(cls, name: str, higher_is_better: bool | None) -> "Metric":
        """Return the row of a custom metric from a configuration."""
        goals: dict[bool | None, Goal] = {True: "max", False: "min"}
        return cls(name, goals.get(higher_is_better), "{:.4g}", "a metric of the configuration")


METRICS = (
    Metric("psnr", "max", "{:.2f}", "peak signal-to-noise ratio of RGB, in dB", headline=True),
    Metric("ssim", "max", "{:.4f}", "structural similarity of RGB"),
    Metric("ciede2000", "min", "{:.2f}", "perceived color difference (ΔE)", headline=True),
    Metric("mse_ab", "min", "{:.1f}", "mean squared error of a and b, in LAB units squared"),
    Metric("mae_ab", "min", "{:.2f}", "mean absolute error of a and b, in LAB units"),
    Metric(
        "colorfulness",
        None,
        "{:.1f}",
        "how colorful the images are, from 0 (grey); more is not always better",
        needs_truth=False,
    ),
    Metric(
        "colorfulness_ratio",
        None,
        "{:.3f}",
        "colorfulness divided by the colorfulness of the true images; 1 is equal",
        columns=("colorfulness", "true_colorfulness"),
        headline=True,
    ),
    Metric(
        "ab_corr",
        "max",
        "{:.3f}",
        "correlation of predicted with true mean color over images, the smaller of a and b",
        columns=("mean_a", "mean_b", "true_mean_a", "true_mean_b"),
    ),
)
"""All metrics, in the order of their columns."""

SAMPLED = (
    Metric("energy", "min", "{:.2f}", "energy score of a and b, in LAB units", headline=True),
    Metric("coarse_energy", "min", "{:.2f}", "the same of the means of 8 x 8 cells", headline=True),
    Metric("sample_diversity", None, "{:.2f}", "ciede2000 between samples", needs_truth=False),
    Metric("coverage", None, "{:.3f}", "share of the true a and b within the samples' range"),
    Metric("mean_psnr", "max", "{:.2f}", "psnr of the samples' mean"),
    Metric("mean_ciede2000", "min", "{:.2f}", "ciede2000 of the samples' mean"),
    Metric("best_psnr", "max", "{:.2f}", "psnr of the best sample"),
    Metric("best_ciede2000", "min", "{:.2f}", "ciede2000 of the best sample"),
)
"""Metrics of an image's samples; the other metrics are means over them."""

MONITOR = "val/psnr"
"""The default metric for comparing runs."""

NAMES = tuple(metric.name for metric in METRICS)
"""The names of all metrics."""

COLUMNS = tuple(dict.fromkeys(column for metric in METRICS for column in metric.inputs))
"""The names of all per-image values, each once."""

GOALS: dict[str, Goal] = {
    "loss": "min",
    **{each.name: each.goal for each in (*METRICS, *SAMPLED) if each.goal is not None},
}
"""The goal of each metric, and of the loss; metrics without a goal have no entry."""


GREY = "grey"  # needs no training images
BASELINES = {
    GREY: "no color at all",
    "mean": "the training images' mean color everywhere",
    "lut": "the training images' median color for each lightness and image row",
}
"""What each baseline predicts, by its name."""


def metric_goal(name: str) -> Goal | None:
    """Return the direction of improvement of a logged metric (`val/psnr`); None if it has none."""
    return GOALS.get(name.rpartition("/")[2])


def cost(value: float, goal: Goal) -> float:
    """Return a metric's value so that less is better; applied twice, it returns the value."""
    return -value if goal == "max" else value
