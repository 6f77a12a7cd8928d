"""Protocols: which images a published result is measured on, and their size and shape."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import torch
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as TF

from lightning_colorize.color import to_lab, to_unit
from lightning_colorize.common.bundled import bundled
from lightning_colorize.common.described import Sha256, read_described
from lightning_colorize.common.errors import UsageError
from lightning_colorize.data.dataset import crop_square
from lightning_colorize.data.decoding.files import ImageError, decode_image
from lightning_colorize.data.image_set import FileImages, ImageSet
from lightning_colorize.data.sources.listing import list_images
from lightning_colorize.evaluation.conditions import reveal
from lightning_colorize.models.control import Control


class Protocol(BaseModel):
    """How images are prepared as the truth that results are compared with.

    Attributes:
        name: The name of its file.
        size: Side of the square in pixels; None for images at their own size.
        shape: `crop` resizes the short side and takes the center, `square` takes the center and
            resizes it, `stretch` resizes both sides, `native` does neither.
        resampling: Resampling of 8-bit RGB.
        antialias: Whether reduced images are smoothed; bilinear without it is `cv2.resize`.
        files: File names with a placeholder for the number, `image_{:04d}.jpg`; None for all
            images.
        count: Required number of images; None for any number.
        colorfulness: Published value for the true images, by `colorfulness(absolute=True)`.
        hint_points: Number of points of the true colors that are given as hints.
        damaged: Whether a system sees the image's `old_copy`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(exclude=True)
    size: Annotated[int, Field(ge=16, le=4096)] | None
    shape: Literal["crop", "square", "stretch", "native"]
    resampling: Literal["bilinear", "bicubic", "lanczos", "none"] = "bicubic"
    antialias: bool = True
    files: str | None = None
    count: Annotated[int, Field(ge=1)] | None = None
    colorfulness: FiniteFloat | None = None
    hint_points: Annotated[int, Field(ge=0)] = 0
    damaged: bool = False

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
        except (IndexError, KeyError, ValueError):
            raise ValueError("files needs one placeholder for the number, such as {:04d}") from None
        return self

    def settings(self) -> dict[str, Any]:
        """Return the settings that the digest covers."""
        settings = self.model_dump()
        # Digests from before these settings stay valid.
        for name in ("hint_points", "antialias", "damaged"):
            if settings[name] == type(self).model_fields[name].default:
                del settings[name]
        return settings

    def prepare(self, rgb: Tensor) -> Tensor:
        """Prepare an image for comparison; (3, H, W), uint8, before and after."""
        if self.size is None or self.resampling == "none":
            return rgb
        mode, side = InterpolationMode(self.resampling), self.size
        size = [side] if self.shape == "crop" else [side, side]
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
    # Digest and name of each image that was read, as `sha256sum` prints them.
    lines: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.images)

    def __iter__(self) -> Iterator[tuple[str, Tensor]]:
        """Yield names and prepared images, (3, H, W), uint8; unreadable ones are recorded."""
        self.broken, self.lines = [], []
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
            self.lines.append(f"{hashlib.sha256(data).hexdigest()}  {name}")
            yield name, rgb

    def drop(self, error: ImageError) -> None:
        """Leave out the last yielded image, which a system cannot read."""
        self.lines.pop()
        self.broken.append(error)

    def measured(self) -> MeasuredImages:
        """Return the protocol and its images for a result, after all images were read."""
        settings = self.protocol.settings()
        contents = sorted(line.partition(" ")[0] for line in self.lines)
        text = json.dumps([settings, contents], sort_keys=True)
        return MeasuredImages(
            name=self.protocol.name,
            settings=settings,
            images=len(self.lines),
            sha256=hashlib.sha256(text.encode()).hexdigest(),
        )
