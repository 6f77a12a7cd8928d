"""RGB to (L, ab) and back, always in fp32 with autocast off.

CIE LAB of sRGB under D65 and the 2 degree observer, by kornia. A bf16 conversion errs by a mean
delta E of 0.76 and tints pure grey, and kornia's colour matrices are einsums, which autocast would
lower: hence every conversion of the package goes through this file.
"""

from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

AB_SCALE = 110.0
"""LAB units of a and b that map to 1. In sRGB a lies in [-86.2, 98.2], b in [-107.9, 94.5]."""


def full_precision(tensor: Tensor) -> AbstractContextManager[object]:
    """Return a context in which nothing on the tensor's device is autocast."""
    return torch.autocast(tensor.device.type, enabled=False)


def to_unit(rgb: Tensor) -> Tensor:
    """Return sRGB as fp32 in 0..1: the one place that divides by 255.

    Args:
        rgb: Any shape: uint8 in 0..255, or floating point in 0..1.

    Raises:
        TypeError: For any other dtype (kornia would take it and return nonsense).
    """
    if rgb.dtype == torch.uint8:
        return rgb.float() / 255.0
    if rgb.is_floating_point():
        return rgb.float()
    raise TypeError(f"rgb must be uint8 (0..255) or floating point (0..1), not {rgb.dtype}")


def to_lab(rgb: Tensor) -> tuple[Tensor, Tensor]:
    """Convert photographs to lightness and colour.

    Args:
        rgb: sRGB, (B, 3, H, W): uint8 in 0..255, or floating point in 0..1.

    Returns:
        L: (B, 1, H, W) in [0, 100] and ab: (B, 2, H, W) in LAB units, both fp32.

    Raises:
        TypeError: For any other dtype (kornia would take it and return nonsense).
    """
    from kornia.color import rgb_to_lab  # takes most of a second, which helps and messages save

    with full_precision(rgb):
        lab = rgb_to_lab(to_unit(rgb))
    return lab[:, :1], lab[:, 1:]


def to_rgb(L: Tensor, ab: Tensor, *, clip: bool = True) -> Tensor:
    """Convert lightness and colour to sRGB.

    Args:
        L: (B, 1, H, W) in [0, 100].
        ab: (B, 2, H, W) in LAB units.
        clip: Clip to 0..1. Leave it off inside losses: clipping has no gradient.

    Returns:
        sRGB, (B, 3, H, W), fp32, in 0..1 where `clip`.
    """
    from kornia.color import lab_to_rgb

    with full_precision(L):
        rgb: Tensor = lab_to_rgb(torch.cat([L.float(), ab.float()], dim=1), clip=clip)
    return rgb


class LabScaling(nn.Module):
    """Between LAB units and the networks' [-1, 1]; its constants travel in the state dict.

    Args:
        ab_scale: LAB units of a and b that map to 1.
    """

    ab_scale: Tensor

    def __init__(self, ab_scale: float = AB_SCALE) -> None:
        super().__init__()
        self.register_buffer("ab_scale", torch.tensor(float(ab_scale)))

    def normalise_L(self, L: Tensor) -> Tensor:
        """Map L in [0, 100] to [-1, 1]."""
        return L / 50.0 - 1.0

    def normalise_ab(self, ab: Tensor) -> Tensor:
        """Map ab in LAB units to [-1, 1]."""
        return ab / self.ab_scale

    def restore_ab(self, ab: Tensor) -> Tensor:
        """Map ab in [-1, 1] to LAB units, in fp32."""
        return ab.float() * self.ab_scale
