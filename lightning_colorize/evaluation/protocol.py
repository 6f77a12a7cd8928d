"""Protocols: the images a published result is measured on, their size and shape, and results."""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import torch
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    ValidationError,
    field_validator,
    model_validator,
)
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as TF

from lightning_colorize.color import ColorBatch, colorfulness, to_lab, to_lightness, to_unit
from lightning_colorize.color.hints import diffused
from lightning_colorize.common.bundled import bundled
from lightning_colorize.common.described import Sha256, first_problem, read_described
from lightning_colorize.common.errors import UsageError
from lightning_colorize.common.progress import progress
from lightning_colorize.data.augmentation import old_copy
from lightning_colorize.data.dataset import crop_square, limit_length
from lightning_colorize.data.decoding.files import ImageError, decode_image
from lightning_colorize.data.image_set import FileImages, ImageSet
from lightning_colorize.data.sources.listing import list_images
from lightning_colorize.evaluation.conditions import reveal
from lightning_colorize.evaluation.evaluator import Results, measure
from lightning_colorize.evaluation.pretrained import PretrainedMetrics, PretrainedResult, Value
from lightning_colorize.evaluation.statistics import intervals, mean_intervals
from lightning_colorize.evaluation.systems import Prediction, System
from lightning_colorize.metrics import spec
from lightning_colorize.metrics.formulas import PSNR_CAP
from lightning_colorize.models.base import View
from lightning_colorize.models.baseline import baseline_models
from lightning_colorize.models.control import Control
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

Rows = dict[str, dict[str, Value]]
"""Metrics by row."""


class Protocol(BaseModel):
    """How images are prepared as the truth that results are compared with."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(exclude=True)  # The name of its file.
    # Side of the square in pixels; None for images at their own size.
    size: Annotated[int, Field(ge=16, le=4096)] | None
    # `crop` resizes the short side and takes the center, `square` takes the center and resizes it,
    # `stretch` resizes both sides, `native` does neither.
    shape: Literal["crop", "square", "stretch", "native"]
    resampling: Literal["bilinear", "bicubic", "lanczos", "none"] = "bicubic"  # Of 8-bit RGB.
    antialias: bool = True  # Smooths reduced images; bilinear without it is `cv2.resize`.
    files: str | None = None  # Names with the number, `image_{:04d}.jpg`; None for all images.
    count: Annotated[int, Field(ge=1)] | None = None  # Required number of images.
    colorfulness: FiniteFloat | None = None  # Published for the truth, `absolute=True`.
    hint_points: Annotated[int, Field(ge=0)] = 0  # Points of the true colors given as hints.
    damaged: bool = False  # Whether a system sees the image's `old_copy`.

    @model_validator(mode="after")
    def _fits(self) -> Self:
        native = self.shape == "native"
        if native != (self.size is None) or native != (self.resampling == "none"):
            raise ValueError(
                "shape native needs size null and resampling none, other shapes need both"
            )
        if self.files is not None and self.count is None:
            raise ValueError("files needs count")
        if not self.antialias and self.resampling != "bilinear":
            raise ValueError("antialias false needs resampling bilinear")
        try:
            (self.files or "").format(1)
        except (LookupError, ValueError):
            raise ValueError("files needs one placeholder for the number, such as {:04d}") from None
        return self

    def settings(self) -> dict[str, Any]:
        """Return the settings that the digest covers."""
        # Digests from before these settings stay valid.
        given = self.model_dump(exclude_defaults=True).keys()
        return self.model_dump(exclude={"hint_points", "antialias", "damaged"} - given)

    def prepare(self, rgb: Tensor) -> Tensor:
        """Prepare an image for comparison; (3, H, W), uint8, before and after."""
        if self.size is None or self.resampling == "none":
            return rgb
        mode, side = InterpolationMode(self.resampling), self.size
        size = [side] if self.shape == "crop" else [side, side]
        rgb = limit_length(rgb, 100)  # longer ones do not fit in memory when enlarged
        if self.shape == "square":
            rgb = crop_square(rgb, min(rgb.shape[1:]))
        if self.resampling == "lanczos":  # torchvision supports it for Pillow images only
            resized = TF.pil_to_tensor(TF.resize(TF.to_pil_image(rgb), size, mode))
        elif not self.antialias:  # in fp32: torch rounds uint8 after each of the two directions
            resized = TF.resize(rgb.float(), size, mode, antialias=False).round().byte()
        else:
            resized = TF.resize(rgb, size, mode, antialias=True)
        return crop_square(resized, side)

    def control(self, rgb: Tensor) -> Control:
        """Return the hints of a prepared image, (3, H, W) in uint8."""
        hints = reveal(*to_lab(to_unit(rgb[None])), self.hint_points)
        return Control(torch.cat([rgb, (hints[0, 2:] * 255).byte()]))

    def choose(self, folder: Path, images: ImageSet) -> ImageSet:
        """Return the images of the protocol in a folder; if it names none, those in `images`."""
        if self.files is not None and self.count is not None:
            wanted = {self.files.format(number): None for number in range(1, self.count + 1)}
            found: dict[str, str] = {}
            for name in list_images(folder):
                base = name.rpartition("/")[2]
                if base in wanted and found.setdefault(base, name) != name:
                    raise UsageError(f"{folder} has {found[base]} and {name}; keep one")
            missing = [name for name in wanted if name not in found]
            if missing:
                raise UsageError(
                    f"protocol {self.name} needs {missing[0]} in {folder}; "
                    f"{len(missing):,} of {self.count:,} images are missing"
                )
            return FileImages(folder, [found[name] for name in wanted])
        if self.count is not None and len(images) != self.count:
            raise UsageError(
                f"protocol {self.name} has {self.count:,} images; {folder} has {len(images):,}"
            )
        return images


def read_protocol(name: str) -> Protocol:
    """Read a protocol: its name in experiments/protocol/ without suffix, or a YAML file's path."""
    given, folder = Path(name), bundled("experiments") / "protocol"
    path = given if given.suffix else folder / f"{name}.yaml"
    if not path.is_file():
        known = sorted(file.stem for file in folder.glob("*.yaml"))
        raise UsageError(
            f"unknown protocol {name}; give the path of a YAML file or {', '.join(known)}"
        )
    return read_described(path, Protocol, name=path.stem)


class MeasuredImages(BaseModel):
    """The measured images of a protocol."""

    name: str
    settings: dict[str, str | bool | int | float | None]
    images: Annotated[int, Field(ge=1)]
    # SHA-256 of the settings and the contents of all images; their names do not count.
    sha256: Sha256

    def __str__(self) -> str:
        return f"{self.images:,} images, protocol {self.name} ({self.sha256[:8]})"


@dataclass
class ProtocolImages:
    """The images of a protocol, and a digest of what was read."""

    protocol: Protocol
    images: ImageSet
    broken: list[ImageError] = field(default_factory=list)  # Errors of unreadable images.
    digests: list[str] = field(default_factory=list)  # Of each image that was read.

    def __len__(self) -> int:
        return len(self.images)

    def __iter__(self) -> Iterator[tuple[str, Tensor]]:
        """Yield names and prepared images, (3, H, W), uint8; unreadable ones are recorded."""
        self.broken, self.digests = [], []
        for index in range(len(self.images)):
            name = self.images.name(index)
            try:
                data = self.images.encoded(index)
                if data is None:
                    raise UsageError("a protocol needs image files, not regions of a data set")
                rgb = self.protocol.prepare(decode_image(data, Path(name)))
            except ImageError as error:
                self.broken.append(error)
                continue
            self.digests.append(hashlib.sha256(data).hexdigest())
            yield name, rgb

    def drop(self, error: ImageError) -> None:
        """Leave out the last yielded image, which a system cannot read."""
        self.digests.pop()
        self.broken.append(error)

    def measured(self) -> MeasuredImages:
        """Return the protocol and its images for a result, after all images were read."""
        settings = self.protocol.settings()
        text = json.dumps([settings, sorted(self.digests)], sort_keys=True)
        return MeasuredImages(
            name=self.protocol.name,
            settings=settings,
            images=len(self.digests),
            sha256=hashlib.sha256(text.encode()).hexdigest(),
        )


class ProtocolResult(BaseModel):
    """A result, stored as a small JSON file that can be shared."""

    system: Annotated[str, Field(max_length=LONGEST_NAME)]
    # SHA-256 of the checkpoint or weights; None for images.
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
    def read(cls, file: Path) -> Self:
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
    value, low, high = (difference[name] for name in ("value", "low", "high"))
    nearest = 0.0 if low <= 0 <= high else min(abs(low), abs(high))
    return {"value": abs(value), "low": nearest, "high": max(abs(low), abs(high))}


def _defined(metrics: dict[str, dict[str, float]]) -> dict[str, Value]:
    """Return the metrics that have a value and an interval: a correlation needs several images."""
    finite = {k: v for k, v in metrics.items() if all(map(math.isfinite, v.values()))}
    return {name: Value(**interval) for name, interval in finite.items()}
