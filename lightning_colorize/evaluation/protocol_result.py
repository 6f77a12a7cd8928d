"""A system measured by a protocol, beside the baselines and the truth itself."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import torch
from pydantic import BaseModel, Field, FiniteFloat, ValidationError, field_validator

from lightning_colorize.color import colorfulness, to_lab, to_unit
from lightning_colorize.common.described import Sha256, first_problem
from lightning_colorize.common.errors import UsageError
from lightning_colorize.common.progress import progress
from lightning_colorize.data.decoding.files import ImageError
from lightning_colorize.evaluation.pretrained import PretrainedMetrics, PretrainedResult
from lightning_colorize.evaluation.protocol import ProtocolImages
from lightning_colorize.evaluation.statistics import intervals, mean_intervals
from lightning_colorize.evaluation.systems import System
from lightning_colorize.metrics import BASELINES, Baselines, spec
from lightning_colorize.metrics.formulas import PSNR_CAP
from lightning_colorize.metrics.functional import measure
from lightning_colorize.tasks.prediction import add_colors

SYSTEM, KEPT, TRUTH = "system", "system with the true L", "truth"
"""Rows of a result, before those of the baselines."""

ABSOLUTE = "colorfulness_absolute"
"""Colorfulness by the formula with absolute differences."""

LONGEST_NAME = 200
"""Most characters of a system's name."""

_ROUNDING = 0.5  # mean difference of L: 8 bits cause 0.1, JPEG at quality 95 less than this
_SAME = 1e-3  # CIEDE2000 of equal images, from fp32
_NEAR = 0.5  # of a published colorfulness


class Value(BaseModel):
    """A metric over images, with the ends of its 95 % interval."""

    value: FiniteFloat
    low: FiniteFloat
    high: FiniteFloat


Rows = dict[str, dict[str, Value]]
"""Metrics by row."""


class Measured(BaseModel):
    """What was measured on.

    Attributes:
        name: Of the protocol.
        settings: Of the protocol.
        images: How many.
        sha256: Of the settings and the contents of all images.
    """

    name: str
    settings: dict[str, str | int | float | None]
    images: Annotated[int, Field(ge=1)]
    sha256: Sha256

    def __str__(self) -> str:
        return f"{self.images:,} images, protocol {self.name} ({self.sha256[:8]})"


class ProtocolResult(BaseModel):
    """A result, as a small JSON file that can be sent to others.

    Attributes:
        system: Name of the system.
        sha256: Of its checkpoint or weights; None for images and for a command.
        settings: Size and decoding of a network.
        protocol: The protocol and its images.
        rows: Metrics by row: the system, the same with the true L if it changes L, the truth, the
            baselines.
        changes_lightness: Mean absolute difference of the system's L* from the true one.
        unreadable: Images that could not be read, and are not part of the figures.
        trained_on: Images that the system is known to be trained on; None for none.
        pretrained: Metrics of pretrained networks.
        versions: Of the libraries.
        git_commit: Of this package's source, if it is known.
    """

    system: Annotated[str, Field(max_length=LONGEST_NAME)]
    sha256: Sha256 | None
    settings: dict[str, bool | int | FiniteFloat]
    protocol: Measured
    rows: Rows
    changes_lightness: FiniteFloat
    unreadable: Annotated[int, Field(ge=0)]
    trained_on: Annotated[int, Field(ge=1)] | None
    pretrained: list[PretrainedResult] = []
    versions: Mapping[str, str]
    git_commit: str | None

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
        """Why the result is not to be believed; None if the truth is measured as it must be."""
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
                "these are other images, or they were resized otherwise"
            )
        return None

    @classmethod
    def read(cls, file: Path) -> "ProtocolResult":
        """Read a result.

        Raises:
            UsageError: If it is none.
        """
        try:
            return cls.model_validate_json(file.read_bytes())
        except OSError as error:
            raise UsageError(f"{file} cannot be read: {error.strerror}") from None
        except ValidationError as error:
            raise UsageError(f"{file} is no result of a protocol: {first_problem(error)}") from None


@torch.inference_mode()
def measure_protocol(
    system: System,
    images: ProtocolImages,
    size: int,
    baselines: Baselines | None,
    pretrained: PretrainedMetrics,
    device: torch.device,
) -> tuple[Rows, list[PretrainedResult], float]:
    """Color the images of a protocol one by one, and measure them as the 8-bit RGB they become.

    Args:
        system: The system.
        images: The true images; those that cannot be read are recorded there.
        size: Short side of a network's input, in pixels.
        baselines: Fitted; None for grey alone.
        pretrained: Networks that also measure.
        device: Of the other metrics.

    Returns:
        `rows`, `pretrained` and `changes_lightness` of a `ProtocolResult`.

    Raises:
        UsageError: If fewer than two images can be read.
        FloatingPointError: If the system predicts colors that are not finite.
    """
    extra = [spec.GREY] if baselines is None else list(BASELINES)
    values, absolute, changes = [], [], []
    for name, truth in progress(images, len(images), "evaluating"):
        try:
            colored = system.color_prepared(name, truth, size, images.protocol)
        except ImageError as error:
            images.drop(error)
            continue
        L, ab = to_lab(truth[None].to(device))
        L_hat, ab_hat = to_lab(colored[None].to(device))
        changes.append(float((L_hat - L).abs().mean()))
        flat = [
            torch.zeros_like(ab) if baselines is None else baselines.predict(each, L)
            for each in extra
        ]
        kept, *plain = (add_colors(truth, each) for each in (ab_hat, *flat))
        rgb = torch.stack([colored.cpu(), kept, truth, *plain]).to(device)
        L_rows, ab_rows = to_lab(rgb)
        true_L, true_ab = (each.expand(len(rgb), -1, -1, -1) for each in (L, ab))
        values.append(measure(true_L, ab_rows, true_ab, L_rows).cpu())
        absolute.append(colorfulness(to_unit(rgb), absolute=True).cpu())
        pretrained.update(rgb, truth)
    if len(values) < 2:
        raise UsageError(
            f"only {len(values)} of {len(images)} images can be read; a protocol needs several for "
            "its intervals"
        )
    change = sum(changes) / len(changes)
    columns = torch.stack(values, dim=2).movedim(1, 0).double().numpy()
    rows = intervals(columns)
    for row, interval in zip(
        rows, mean_intervals(torch.stack(absolute, dim=1).double().numpy()), strict=True
    ):
        row[ABSOLUTE] = interval
    names = (SYSTEM, KEPT, TRUTH, *extra)
    named = dict(zip(names, rows, strict=True))
    further = pretrained.compute(names, names.index(TRUTH))
    if change <= _ROUNDING:
        del named[KEPT]
        for result in further:
            result.rows.pop(KEPT, None)
    return {row: _defined(metrics) for row, metrics in named.items()}, further, change


def _defined(metrics: dict[str, dict[str, float]]) -> dict[str, Value]:
    """Return the metrics with a value and an interval: a correlation needs several images."""
    return {
        name: Value(**interval)
        for name, interval in metrics.items()
        if all(map(math.isfinite, interval.values()))
    }
