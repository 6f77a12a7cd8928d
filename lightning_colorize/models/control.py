"""What a person asks of an image's colors: hints, a palette, a label, a prompt."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import ImageColor
from torch import Tensor
from torch.nn import functional as F

from lightning_colorize.color import NO_CONDITION, Condition, to_lab, to_unit
from lightning_colorize.color.palette import LARGEST, palettes_of
from lightning_colorize.common.errors import UsageError
from lightning_colorize.data.decoding.files import read_image
from lightning_colorize.models.base import Model
from lightning_colorize.networks.colorizer import pad_input

_OPAQUE = 128  # alpha from which a pixel counts as painted


@dataclass(frozen=True, eq=False)
class Control:
    """Conditions of one image; all are optional.

    Attributes:
        hints: (4, H, W), uint8: RGB and alpha, transparent but for the painted hints. Any size; it
            is stretched to the image.
        palette: (5, 3): a and b in LAB units and the share of up to 5 colors; 0 for unused rows.
        label: A class name of the model; "" for none.
        prompt: A text; "" for none.
    """

    hints: Tensor | None = None
    palette: Tensor | None = None
    label: str = ""
    prompt: str = ""

    def names(self) -> set[str]:
        """Return the names of the given conditions."""
        given = {
            "hints": self.hints is not None,
            "palette": self.palette is not None,
            "label": bool(self.label),
            "prompt": bool(self.prompt),
        }
        return {name for name, is_given in given.items() if is_given}

    def require_accepted(self, model: Model) -> None:
        """Raise a UsageError if the model does not accept a condition or the label."""
        require_conditions(model, self.names())
        if self.label and self.label not in model.label_names:
            known = ", ".join(model.label_names)
            raise UsageError(f"{model} has no label {self.label}; its labels are {known}")


NO_CONTROL = Control()


def require_conditions(model: Model, names: set[str]) -> None:
    """Raise a UsageError if the model does not accept all of these conditions."""
    if refused := names - model.conditions:
        accepted = ", ".join(sorted(model.conditions)) or "no conditions"
        raise UsageError(f"{model} accepts {accepted}, not {', '.join(sorted(refused))}")


def parse_palette(text: str) -> Tensor:
    """Return a palette, (5, 3), from colors separated by commas, or from an image file.

    A color is a name of CSS such as `red` or `dark green`, or `#c03020`; a share can follow, as in
    `navy:0.7,orange:0.3`. Otherwise the colors have equal shares.

    Raises:
        UsageError: If a color is unknown, there are more than 5, or shares are not positive.
        ImageError: If the file cannot be read as an image.
    """
    if Path(text).is_file():
        return palette_of(read_image(Path(text)))
    colors, shares = [], []
    for part in text.split(","):
        name, _, share = part.partition(":")
        try:
            colors.append(ImageColor.getrgb(name.strip().replace(" ", ""))[:3])
            shares.append(float(share or 1))
        except ValueError:
            raise UsageError(
                f"palette: {part.strip()!r} is neither a color, such as red or #c03020 or "
                "navy:0.7, nor an image file"
            ) from None
    if len(colors) > LARGEST or min(shares) <= 0:
        raise UsageError(f"palette: give 1 to {LARGEST} colors, with shares above 0")
    _, ab = to_lab(to_unit(torch.tensor(colors, dtype=torch.uint8).view(-1, 3, 1, 1)))
    parts = torch.tensor(shares)[:, None] / sum(shares)
    return F.pad(torch.cat([ab[:, :, 0, 0], parts], dim=1), (0, 0, 0, LARGEST - len(colors)))


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
        each = [_resized(c.hints, size) for c, size in zip(controls, sizes, strict=True)]
        hints = torch.cat([pad_input(one, *padded) for one in each]).to(device)
    if "palette" in given:
        none = torch.zeros(LARGEST, 3)
        palettes = torch.stack([none if c.palette is None else c.palette for c in controls])
        palettes = palettes.to(device)
    texts = [c.prompt for c in controls] if "prompt" in given else None
    return Condition(labels, texts, hints, palettes)


def _resized(hints: Tensor | None, size: torch.Size) -> Tensor:
    """Return hints at the network's size, (1, 3, h, w): the mean ab of what is painted, and mask.

    One painted pixel of a large image is one pixel of the network's input.
    """
    if hints is None:
        return torch.zeros(1, 3, *size)
    _, ab = to_lab(to_unit(hints[:3].unsqueeze(0)))
    painted = (hints[3:].unsqueeze(0) >= _OPAQUE).float()
    sums = F.interpolate(torch.cat([ab * painted, painted], dim=1), size, mode="area")
    ab, share = sums[:, :2], sums[:, 2:]
    return torch.cat([ab / share.clamp(min=1e-9), (share > 0).float()], dim=1)
