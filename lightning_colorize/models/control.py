"""User conditions for one image: hints, a reference, a palette, a label, a prompt."""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from PIL import ImageColor
from torch import Tensor
from torch.nn import functional as F

from lightning_colorize.color import NO_CONDITION, Condition, to_lab, to_unit
from lightning_colorize.color.palette import LARGEST, palettes_of
from lightning_colorize.common.errors import UsageError
from lightning_colorize.data.decoding.files import (
    LIMITS,
    ImageError,
    Limits,
    read_bytes,
    read_image,
)
from lightning_colorize.data.decoding.photograph import EMPTY_ALPHA, read_photograph
from lightning_colorize.models.base import Model
from lightning_colorize.networks.network import pad_input

_OPAQUE = 128  # alpha from which a pixel counts as painted
_STRETCHED = 0.02  # largest relative difference of the aspect ratios of hints and image
_SIDE = 256  # pixels to which an image may be reduced before its palette is taken


@dataclass(frozen=True, eq=False)
class Reference:
    """A color photograph.

    Attributes:
        name: Name or file, for messages.
        rgb: (3, h, w), uint8.
        frame: Index of the frame of a film that it is; None if it is of all.
        weight: Weight of its colors among those of several references.
    """

    name: str
    rgb: Tensor
    frame: int | None = None
    weight: float = 1.0


@dataclass(frozen=True, eq=False)
class Control:
    """Conditions of one image; all are optional.

    Attributes:
        hints: (4, H, W), uint8: RGB and alpha, transparent but for the painted hints; or an image
            file that `read` reads. Any size; it is stretched to the image. Or (3, h, w), fp32: a, b
            and mask at the size of the network's input.
        palette: (5, 3): a and b in LAB units and the share of up to 5 colors; 0 for unused rows.
        label: A class name of the model; "" for none.
        prompt: A text; "" for none.
        references: Photographs with the asked colors; `inference.reference` makes hints of them.
    """

    hints: Tensor | Path | None = None
    palette: Tensor | None = None
    label: str = ""
    prompt: str = ""
    references: Sequence[Reference] = ()

    def names(self) -> set[str]:
        """Return the names of the given conditions."""
        return set(self.described())

    def require_accepted(self, model: Model) -> None:
        """Raise a UsageError if the model does not accept a condition or the label."""
        require_conditions(model, self.names())
        if self.label and self.label not in model.label_names:
            known = ", ".join(model.label_names)
            raise UsageError(f"{model} has no label {self.label}; its labels are {known}")

    def read(self, height: int, width: int, limits: Limits = LIMITS) -> "Control":
        """Return the control for an upright image of this size, with its hints read from the file.

        Raises:
            UsageError: If the hints cannot be read, are opaque or without a painted pixel, or have
                another aspect ratio.
        """
        if self.hints is None:
            return self
        hints, name = self.hints, "the hints"
        if isinstance(hints, Path):
            name = f"the hints {hints}"
            try:
                photograph = read_photograph(read_bytes(hints), hints, limits).to_eight_bits()
            except ImageError as error:
                raise UsageError(f"the hints {error}") from None
            if EMPTY_ALPHA in photograph.notes:
                raise UsageError(f"{name} are empty: every pixel is transparent")
            if photograph.alpha is None:
                raise UsageError(f"{name} are opaque; paint on a transparent layer")
            hints = torch.cat([photograph.rgb, photograph.alpha])
        if hints.dtype == torch.uint8 and not (hints[3] >= _OPAQUE).any():
            raise UsageError(f"{name} are empty: no pixel is at least half opaque")
        rows, columns = hints.shape[-2:]
        if abs(columns * height / (rows * width) - 1) > _STRETCHED:
            sizes = f"{columns} x {rows} pixels, not {width} x {height}"
            raise UsageError(f"{name} have another aspect ratio than the image: {sizes}")
        return replace(self, hints=hints)

    def described(self) -> dict[str, Any]:
        """Return the given conditions as plain data: a and b of the palette in LAB units."""
        rows = [] if self.palette is None else self.palette[self.palette[:, 2] > 0].tolist()
        values = {
            "hints": str(self.hints) if isinstance(self.hints, Path) else self.hints is not None,
            "palette": [[round(value, 2) for value in row] for row in rows],
            "label": self.label,
            "prompt": self.prompt,
            "reference": ", ".join(each.name for each in self.references),
        }
        return {name: value for name, value in values.items() if value}


NO_CONTROL = Control()


def require_conditions(model: Model, names: set[str]) -> None:
    """Raise a UsageError if the model does not accept all of these conditions."""
    if refused := names - model.conditions:
        accepted = ", ".join(sorted(model.conditions)) or "no conditions"
        raise UsageError(f"{model} accepts {accepted}, not {', '.join(sorted(refused))}")


def parse_palette(text: str, folder: Path = Path()) -> Tensor:
    """Return a palette, (5, 3), from colors separated by commas, or from an image file.

    A color is a name of CSS such as `red` or `dark green`, or `#c03020`; a share can follow, as in
    `navy:0.7,orange:0.3`. Otherwise the colors have equal shares. The file may be relative to
    `folder`.

    Raises:
        UsageError: If a color is unknown, there are more than 5, shares are not positive, or the
            file cannot be read as an image.
    """
    colors: list[tuple[int, ...]] = []
    shares: list[float] = []
    for part in text.split(","):
        name, _, share = part.partition(":")
        try:
            colors.append(ImageColor.getrgb(name.strip().replace(" ", ""))[:3])
            shares.append(float(share or 1))
        except ValueError:
            file = folder / os.path.expanduser(text)
            try:
                return palette_of(read_image(file, _SIDE))
            except ImageError as error:
                raise UsageError(
                    f"palette: {part.strip()!r} is not a color, such as red or navy:0.7, nor is it "
                    f"an image file ({error})"
                ) from None
    if len(colors) > LARGEST or not (min(shares) > 0 and sum(shares) < math.inf):
        raise UsageError(f"palette: give 1 to {LARGEST} colors, with shares above 0, not {text}")
    _, ab = to_lab(to_unit(torch.tensor(colors, dtype=torch.uint8).view(-1, 3, 1, 1)))
    parts = torch.tensor([share / sum(shares) for share in shares])  # before they are rounded
    rows = torch.cat([ab[:, :, 0, 0], parts[:, None]], dim=1)
    return F.pad(rows, (0, 0, 0, LARGEST - len(colors)))


def palette_of(rgb: Tensor) -> Tensor:
    """Return the palette of an image, (3, H, W) in uint8 or uint16: (5, 3)."""
    _, ab = to_lab(to_unit(rgb.unsqueeze(0)))
    return palettes_of(ab)[0]


def condition_of(
    model: Model, controls: Sequence[Control], sizes: Sequence[torch.Size], padded: tuple[int, int]
) -> Condition:
    """Return the condition of a batch.

    Args:
        model: The model; labels are indices into its names.
        controls: One per image.
        sizes: Height and width of each input.
        padded: Height and width of the batch.
    """
    given = set[str]().union(*(control.names() for control in controls))
    if not given:
        return NO_CONDITION
    device = model.device
    labels = hints = palettes = None
    if "label" in given:
        names = list(model.label_names)
        index = [names.index(c.label) if c.label else -1 for c in controls]
        labels = torch.tensor(index, device=device)
    if "hints" in given:
        each = [resize_hints(c.hints, size) for c, size in zip(controls, sizes, strict=True)]
        hints = torch.cat([pad_input(one, *padded) for one in each]).to(device)
    if "palette" in given:
        none = torch.zeros(LARGEST, 3)
        palettes = torch.stack([none if c.palette is None else c.palette for c in controls])
        palettes = palettes.to(device)
    texts = [c.prompt for c in controls] if "prompt" in given else None
    return Condition(labels, texts, hints, palettes)


def resize_hints(hints: Tensor | Path | None, size: torch.Size) -> Tensor:
    """Return hints at the network's size, (1, 3, h, w): the mean ab of what is painted, and mask.

    Each painted pixel of a larger image belongs to one pixel of the network's input.
    """
    height, width = size
    if not isinstance(hints, Tensor):
        return torch.zeros(1, 3, height, width)
    if hints.is_floating_point():
        row, column = hints[2].nonzero(as_tuple=True)
        painted = hints[:, row, column]
    else:
        sides = [max(sides) for sides in zip(hints.shape[-2:], size, strict=True)]
        if hints.shape[-2:] != tuple(sides):
            hints = F.interpolate(hints[None], sides, mode="nearest-exact")[0]
        # Only these are converted: an image of 12 megapixels would take a second and a gigabyte.
        row, column = (hints[3] >= _OPAQUE).nonzero(as_tuple=True)
        _, ab = to_lab(to_unit(hints[:3, row, column][None, ..., None]))
        painted = torch.cat([ab[0, :, :, 0], torch.ones(1, len(row))])
    row = ((row + 0.5) * (height / hints.shape[-2])).long()
    column = ((column + 0.5) * (width / hints.shape[-1])).long()
    sums = torch.zeros(4, height * width)
    sums.index_add_(1, row * width + column, torch.cat([painted, torch.ones(1, len(row))]))
    return (sums[:3] / sums[3:].clamp(min=1)).view(1, 3, height, width)
