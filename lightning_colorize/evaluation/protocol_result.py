"""The result of measuring a system by a protocol, with the baselines and the truth itself."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated

import torch
from pydantic import BaseModel, Field, FiniteFloat, ValidationError, field_validator
from torch import Tensor

from lightning_colorize.color import ColorBatch, colorfulness, to_lab, to_lightness, to_unit
from lightning_colorize.color.hints import diffused
from lightning_colorize.common.described import Sha256, first_problem
from lightning_colorize.common.errors import UsageError
from lightning_colorize.common.progress import progress
from lightning_colorize.data.augmentation import old_copy
from lightning_colorize.data.decoding.files import ImageError
from lightning_colorize.evaluation.conditions import reveal
from lightning_colorize.evaluation.pretrained import PretrainedMetrics, PretrainedResult
from lightning_colorize.evaluation.protocol import MeasuredImages, ProtocolImages
from lightning_colorize.evaluation.results import Results, measure
from lightning_colorize.evaluation.statistics import intervals, mean_intervals
from lightning_colorize.evaluation.systems import Prediction, System
from lightning_colorize.metrics import spec
from lightning_colorize.metrics.formulas import PSNR_CAP
from lightning_colorize.models.base import View
from lightning_colorize.models.baseline import baseline_models
from lightning_colorize.models.image import add_colors, colorize_image

SYSTEM, KEPT, TRUTH = "system", "system with the true L", "truth"
"""Rows of a result, before the baselines."""

ABSOLUTE, DELTA = "colorfulness_absolute", "delta_colorfulness"

COLUMNS = (
    *(metric for metric in spec.METRICS if metric.name != "mae_ab"),
    spec.Metric(ABSOLUTE, None, "{:.1f}", "colorfulness from absolute differences"),
    # `ΔCF` of DDColor's Table 1, which agrees with the difference of the means, not with the mean
    # of the images' differences.
    spec.Metric(DELTA, "min", "{:.2f}", f"difference of the mean {ABSOLUTE} from the truth's"),
)
"""The metrics of a result."""

LONGEST_NAME = 200
"""Maximum length of a system's name."""

_ROUNDING = 0.5  # mean difference of L: 8 bits cause 0.1, JPEG at quality 95 less than this
_SAME = 1e-3  # CIEDE2000 of identical images, due to fp32
_NEAR = 0.5  # tolerance of a published colorfulness


class Value(BaseModel):
    """A metric over images, with the bounds of its 95 % interval."""

    value: FiniteFloat
    low: FiniteFloat
    high: FiniteFloat


Rows = dict[str, dict[str, Value]]
"""Metrics by row."""


class ProtocolResult(BaseModel):
    """A result, stored as a small JSON file that can be shared."""

    system: Annotated[str, Field(max_length=LONGEST_NAME)]
    # SHA-256 of the checkpoint or weights; None for images and for a command.
    sha256: Sha256 | None
    settings: dict[str, bool | int | FiniteFloat | str]  # Size and decoding of a network.
    protocol: MeasuredImages
    rows: Rows  # The system, the same with the true L if it changes L, the truth, the baselines.
    changes_lightness: FiniteFloat  # Mean absolute difference of the system's L* from the true one.
    unreadable: Annotated[int, Field(ge=0)]  # Number of images that are excluded from the metrics.
    # Number of images that the system is known to be trained on; None for none.
    trained_on: Annotated[int, Field(ge=1)] | None
    pretrained: list[PretrainedResult] = []
    versions: Mapping[str, str]  # Library versions.
    git_commit: str | None  # Commit of this package's source, if it is known.

    @field_validator("rows")
    @classmethod
    def _complete(cls, rows: Rows) -> Rows:
        for name in (SYSTEM, TRUTH, spec.GREY):
            for metric in ("psnr", "ciede2000", ABSOLUTE):
                if metric not in rows.get(name, {}):
                    raise ValueError(f"{name} has no {metric}")
        return rows

    @property
    def problem(self) -> str | None:
        """Why the result is not valid; None if the truth is measured as expected."""
        truth, published = self.rows[TRUTH], self.protocol.settings.get("colorfulness")
        psnr, ciede2000, measured = (truth[name].value for name in ("psnr", "ciede2000", ABSOLUTE))
        if psnr < PSNR_CAP or ciede2000 > _SAME:
            return (
                f"the truth itself is measured with PSNR {psnr:.1f} dB and CIEDE2000 "
                f"{ciede2000:.3f}, not {PSNR_CAP:.0f} dB and 0"
            )
        if published is not None and abs(measured - float(published)) > _NEAR:
            return (
                f"the truth has a colorfulness of {measured:.2f}, published is {published:.2f}: "
                "these are different images, or they were resized differently"
            )
        return None

    @classmethod
    def read(cls, file: Path) -> "ProtocolResult":
        """Read a result."""
        try:
            return cls.model_validate_json(file.read_bytes())
        except OSError as error:
            raise UsageError(f"{file} cannot be read: {error.strerror}") from None
        except ValidationError as error:
            raise UsageError(f"{file} is not a protocol result: {first_problem(error)}") from None


def measure_protocol(
    system: System,
    images: ProtocolImages,
    size: int,
    pretrained: PretrainedMetrics,
    device: torch.device,
) -> tuple[Rows, list[PretrainedResult], float]:
    """Colorize the images of a protocol one by one, and measure the resulting 8-bit RGB.

    If the system has no baselines, grey is the only one. Images that cannot be read are recorded in
    `images`. `size` is the short side of a network's input in pixels; `device` is for the metrics
    other than `pretrained`.

    Returns:
        `rows`, `pretrained` and `changes_lightness` of a `ProtocolResult`.

    Raises:
        FloatingPointError: If the system predicts colors that are not finite.
    """
    protocol = images.protocol
    view = View(protocol.prepare, finished=True, crops=protocol.shape in ("crop", "square"))
    plain = baseline_models(system.model.baselines)
    spread = ["diffused"] if protocol.hint_points else []
    names = (SYSTEM, KEPT, TRUTH, *plain, *spread)
    colored: dict[str, tuple[Tensor, Tensor, Tensor]] = {}
    absolute, changes = [], []

    def batches() -> Iterator[ColorBatch]:
        for name, truth in progress(images, len(images), "evaluating"):
            seen = old_copy(truth) if protocol.damaged else truth
            try:
                if spread:
                    rgb = colorize_image(system.model, seen, size, protocol.control(truth))
                else:
                    rgb = system.color_whole(name, seen, size, view)
                colored[name] = truth, to_lightness(seen[None].to(device)), rgb.to(device)
            except ImageError as error:
                images.drop(ImageError(Path(name), f"{system.name}: {error.reason}"))
                continue
            yield ColorBatch(*to_lab(truth[None].to(device)), [name])

    def predict(batch: ColorBatch) -> list[Prediction]:
        (name,) = batch.names
        truth, L_seen, rgb_hat = colored.pop(name)
        L_hat, ab_hat = to_lab(rgb_hat[None])
        changes.append(float((L_hat - batch.L).abs().mean()))
        flat = [ab_hat, *(each.color(L_seen)[0] for each in plain.values())]
        if spread:
            hints = reveal(batch.L, batch.ab, protocol.hint_points)
            flat.append(diffused(hints, batch.L)[:, :2])
        kept, *others = (add_colors(truth, ab).to(device) for ab in flat)
        rgb = torch.stack([rgb_hat, kept, truth.to(device), *others])
        absolute.append(colorfulness(to_unit(rgb), absolute=True).cpu())
        pretrained.update(rgb, truth)
        L_rows, ab_rows = to_lab(rgb)
        return [Prediction(L_rows[[i]], ab_rows[None, [i]]) for i in range(len(rgb))]

    result = measure(Results([*names[:3]], [*names[3:]]), batches(), predict, failures=False)
    if result.values is None or len(result.names) < 2:
        raise UsageError(
            f"only {len(result.names)} of {len(images)} images can be read; a protocol needs "
            "several for its intervals"
        )
    change = sum(changes) / len(changes)
    rows = intervals(result.values)
    colorful = torch.stack(absolute, dim=1).double().numpy()
    differences = mean_intervals(colorful - colorful[names.index(TRUTH)])
    for row, interval, delta in zip(rows, mean_intervals(colorful), differences, strict=True):
        row[ABSOLUTE], row[DELTA] = interval, _size(delta)
    named = dict(zip(names, rows, strict=True))
    extra = pretrained.compute(names, names.index(TRUTH))
    if change <= _ROUNDING:
        del named[KEPT]
        for each in extra:
            each.rows.pop(KEPT, None)
    return {row: _defined(metrics) for row, metrics in named.items()}, extra, change


def _size(difference: dict[str, float]) -> dict[str, float]:
    """Return the absolute value of a difference, with its interval."""
    value, low, high = (abs(difference[name]) for name in ("value", "low", "high"))
    includes_zero = difference["low"] <= 0 <= difference["high"]
    return {
        "value": value,
        "low": 0.0 if includes_zero else min(low, high),
        "high": max(low, high),
    }


def _defined(metrics: dict[str, dict[str, float]]) -> dict[str, Value]:
    """Return the metrics that have a value and an interval: a correlation needs several images."""
    return {
        name: Value(**interval)
        for name, interval in metrics.items()
        if all(map(math.isfinite, interval.values()))
    }
